"""Label maps on disk: PNGs whose pixels are ids of classes or, packed into three channels, of segments.

They are read without loss: palette images by index, never by colour; 16-bit images with all bits; three channels as
R + 256 G + 65536 B, which is how panoptic COCO stores segments, and also how colours are looked up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.data.folders import as_utf8, name_problem
from lab.data.images.annotations import tell_once
from lab.data.images.opening import PHOTOMETRIC
from lab.errors import ConfigError
from lab.structures import NO_SEGMENT

GRAY_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N")
LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "PPM")
STRETCHED = {"L;2": 85, "L;4": 17}  # Pillow's factors for grey of 2 and 4 bits, which make white 255


def label_header(folder: Path, name: str, packed: bool) -> tuple[tuple[int, int], str]:
    """Return ((height, width), why the file is not a label map or ``""``) without decoding the pixels.

    A label map is turned only by its own EXIF orientation.

    Args:
        folder: where label maps are; a name that leads out of it is a problem.
        name: the file's name.
        packed: whether ids are packed into three channels.
    """
    from lab.data.images.opening import ImageFileError, open_image, orientation, stored_size

    said = f"its label map {as_utf8(name)}"
    if problem := name_problem(name):
        return (0, 0), f"{said}: {problem}"
    try:
        with open_image(folder / name) as image:
            size = stored_size(image)
            size = (size[1], size[0]) if orientation(image) >= 5 else size
            problem = _label_problem(image, packed)
    except ImageFileError as error:
        return (0, 0), f"{said} is missing" if str(error) == "missing" else f"{said}: {error}"
    return size, f"{said} is {problem}" if problem else ""


def read_ids(path: Path, packed: bool = False) -> npt.NDArray[np.int64] | npt.NDArray[np.uint8]:
    """Return the ids of a label map, (h, w).

    Raises:
        ImageFileError: the file is damaged.
    """
    from lab.data.images.opening import open_image, orientation, upright

    with open_image(path) as image:
        turn, stretched = orientation(image), STRETCHED.get(_raw_mode(image), 1)
        image.load()
        pixels = np.asarray(image if image.format == "TIFF" else upright(image, turn))  # Pillow turns a TIFF
    if not packed:
        pixels = pixels // np.uint8(stretched) if stretched > 1 else pixels
        return pixels if pixels.dtype == np.uint8 else pixels.astype(np.int64)
    channels = pixels[..., :3].astype(np.int64)
    return channels[..., 0] + 256 * channels[..., 1] + 65536 * channels[..., 2]


def _label_problem(image: Any, packed: bool) -> str:
    """Return why an opened image cannot be a label map, or ``""``."""
    mode, raw = image.mode, _raw_mode(image)
    if image.format not in LOSSLESS:
        return f"a {image.format}, which does not keep ids: give PNG"
    if packed and mode not in ("RGB", "RGBA"):
        return f"of mode {mode}, where RGB is needed"
    if packed and "16" in raw:
        return "of 16 bits a channel, of which 8 are read: give RGB of 8 bits"
    if not packed and mode not in GRAY_MODES:
        return f"of mode {mode}: give one channel of ids, or data.colors"
    if image.format == "PPM" and image.tile[0][0] != "raw":
        return "a PPM whose largest value is not 255, which Pillow stretches to it: give PNG"
    if image.format == "TIFF" and not packed and image.tag_v2.get(PHOTOMETRIC) == 0:
        return "a TIFF whose zero is white, so that ids would be inverted: give PNG"
    return ""


def _raw_mode(image: Any) -> str:
    """Return how the pixels of an opened image are stored, in Pillow's words, before they are decoded."""
    arguments = image.tile[0][3] if image.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


class LabelTable:
    """Maps stored ids to labels.

    Args:
        ids: the stored id of each label, in label order.
        ignored: stored ids of pixels that belong to no class; an id that is also in ``ids`` is a class.

    Raises:
        ConfigError: two labels have the same id.
    """

    def __init__(self, ids: Sequence[int], ignored: Sequence[int] = ()) -> None:
        twice = sorted({number for number in ids if list(ids).count(number) > 1})
        if twice:
            raise ConfigError(f"data.label_ids: the id {twice[0]} stands for two classes; every class needs its own")
        table = dict.fromkeys(ignored, NO_SEGMENT) | {number: label for label, number in enumerate(ids)}
        self.ids = np.array(sorted(table), dtype=np.int64)
        self.labels = np.array([table[number] for number in sorted(table)], dtype=np.int16)
        small = [number for number in table if 0 <= number < 256]
        self._byte = np.full(256, NO_SEGMENT, dtype=np.int16)
        self._byte[small] = [table[number] for number in small]
        self._unknown_byte = np.ones(256, dtype=bool)
        self._unknown_byte[small] = False

    def look_up(self, ids: npt.NDArray[np.int64] | npt.NDArray[np.uint8]) -> tuple[Tensor, Mapping[int, int]]:
        """Return the label of each pixel, (h, w) int16, ``NO_SEGMENT`` where it has none, and the unknown ids.

        Unknown ids are neither a class nor ignored; the number of pixels of each is returned.
        """
        if ids.dtype == np.uint8:  # nearly all data: two look-ups in 256 entries
            counts = np.bincount(ids.ravel(), minlength=256)
            unknown = np.flatnonzero((counts > 0) & self._unknown_byte)
            return torch.from_numpy(self._byte[ids]), {int(number): int(counts[number]) for number in unknown}
        present, places, counts = np.unique(ids, return_inverse=True, return_counts=True)
        slots = np.searchsorted(self.ids, present).clip(max=len(self.ids) - 1)
        known = self.ids[slots] == present
        labels = np.where(known, self.labels[slots], np.int16(NO_SEGMENT)).astype(np.int16)
        stray = {int(number): int(count) for number, count in zip(present[~known], counts[~known], strict=True)}
        return torch.from_numpy(labels[places].reshape(ids.shape)), stray


def tell_ignored(class_names: Sequence[str], ids: Sequence[int], ignored: Sequence[int]) -> None:
    """Log which ids are both a class and ignored; they count as classes."""
    for name, number in zip(class_names, ids, strict=True):
        if number in ignored:
            tell_once(
                f"data.ignore_ids: {number} is also the id of the class {name!r}, and its pixels are taken as that "
                "class; take the class out of data.class_names, or the id out of data.ignore_ids"
            )


def pack_color(color: Sequence[int]) -> int:
    """Return R + 256 G + 65536 B.

    Raises:
        ConfigError: it is not three numbers from 0 to 255.
    """
    if len(color) != 3 or not all(0 <= value <= 255 for value in color):
        raise ConfigError(f"data.colors: {list(color)} is no colour; give [red, green, blue], each from 0 to 255")
    return color[0] + 256 * color[1] + 65536 * color[2]
