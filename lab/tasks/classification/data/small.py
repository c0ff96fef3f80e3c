"""Class folders of small images, or zips of them, that are decoded once into one array."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, __version__

from lab.data.caches import cache_folder, cannot_write
from lab.data.images.annotations import BadSamplePolicy, tell_once
from lab.data.images.opening import ImageFileError, read_image
from lab.data.images.store import ImageStore
from lab.data.images.stores import open_store
from lab.data.memory import require_memory
from lab.errors import DataError
from lab.system.files import replacing
from lab.tasks.classification.data.arrays import Arrays, ArraysModule
from lab.tasks.classification.data.folder import HOW_TO_GET, class_folders, label_of

WORTH_KEEPING = 4.0
"""Seconds: what took longer to decode is kept in the cache of datasets."""
_MAX_NAMES = 5

log = logging.getLogger(__name__)


@dataclass(eq=False)
class SmallImagesModule(ArraysModule):
    """``data=small_images``: class folders of images that fit in memory, or zips of them, read in place.

    Args:
        train: the folder or zip ``images`` to train on, relative to ``root``.
        test: the one to test on.
        on_bad_sample: ``"skip"`` leaves out what cannot be read and reports it; ``"error"`` stops.
    """

    train: Mapping[str, str]
    test: Mapping[str, str]
    _: KW_ONLY
    on_bad_sample: BadSamplePolicy = "skip"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._names: tuple[str, ...] | None = None

    def names(self) -> tuple[str, ...]:
        """Return the names of the folders to train on."""
        if self._names is None:
            self._names = class_folders(self._store("train"))
        return self._names

    def read(self, split: str) -> Arrays:
        """Return the images of a split.

        Raises:
            DataError: there is none, they differ in size, or are too many for the memory.
        """
        store = self._store(split)
        names = class_folders(store, None if split == "train" else self.names())
        labels = {name: label for label, name in enumerate(names)}
        chosen = [name for name in store.names() if label_of(name, labels) is not None]
        strays = [f"{name} (in no class's folder)" for name in store.names() if label_of(name, labels) is None]
        digest = hashlib.sha256(f"small-1:{names}".encode("utf-8", "surrogateescape"))
        store.add_to(digest)
        pixels, bad = self._decoded(store, chosen, digest.hexdigest())
        self._report(store, [*strays, *(f"{chosen[row]} ({why})" for row, why in bad.items())], len(pixels))
        found = [label_of(name, labels) for row, name in enumerate(chosen) if row not in bad]
        return Arrays(pixels, np.array(found, dtype=np.int64), digest.hexdigest(), str(store.place))

    def _store(self, split: str) -> ImageStore:
        files = self.train if split == "train" else self.test
        if "images" not in files:
            raise DataError(f"data.{split} names a folder or a zip of 'images', not {', '.join(files) or 'nothing'}")
        return open_store(self.folder / files["images"], self.folder, HOW_TO_GET)

    def _decoded(
        self, store: ImageStore, names: list[str], key: str
    ) -> tuple[npt.NDArray[np.uint8], Mapping[int, str]]:
        """Return the images (N, 3, h, w) that can be read, and why the others cannot, by their number."""
        kept = cache_folder() / "lab-arrays" / f"{key}-{self.image_size}-{self.interpolation}-{__version__}.npy"
        found = _kept(kept, len(names))
        if found is not None:
            return found, {}
        start = time.process_time()
        pixels, bad = decode(store, names, self.image_size, self.interpolation)
        if not bad and time.process_time() - start > WORTH_KEEPING:
            try:
                kept.parent.mkdir(parents=True, exist_ok=True)
                with replacing(kept, binary=True) as file:
                    np.save(file, pixels, allow_pickle=False)
            except OSError as error:
                raise DataError(cannot_write(kept.parent, error)) from error
        return pixels, bad

    def _report(self, store: ImageStore, bad: list[str], usable: int) -> None:
        if not bad:
            return
        more = f" and {len(bad) - _MAX_NAMES} more" if len(bad) > _MAX_NAMES else ""
        listed = f"{len(bad)} ({', '.join(bad[:_MAX_NAMES])}{more})"
        if self.on_bad_sample == "error":
            raise DataError(
                f"{store.place}: unreadable images: {listed}; mend them, or set data.on_bad_sample=skip to go on "
                "without them"
            )
        if not usable:
            raise DataError(f"{store.place}: none of its {len(bad)} images can be read; {listed}")
        tell_once(f"{store.place}: unreadable images, {usable} of {usable + len(bad)} are taken: {listed}")


def decode(
    store: ImageStore, names: list[str], image_size: int | None, interpolation: str = "bilinear"
) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    """Return the images (N, 3, h, w) that can be read, and why the others cannot, by their number.

    Args:
        store: where they are.
        names: the images.
        image_size: the side that images are resized to if they differ in size; None: they have one size.
        interpolation: ``"bilinear"`` or ``"bicubic"``.

    Raises:
        DataError: they differ in size, or the memory does not suffice.
    """
    how = Image.Resampling[interpolation.upper()]
    pixels, bad, odd = _pass(store, names, None, how, 1 if image_size else _MAX_NAMES)
    if odd and image_size is None:
        raise DataError(
            f"{store.place}: images differ in size, the first is {pixels.shape[3]}x{pixels.shape[2]}, others are not "
            f"({', '.join(odd)}); set data.image_size=N to resize all of them, or take data=imagefolder"
        )
    if odd:
        pixels, bad, _ = _pass(store, names, image_size, how, 1)
    return pixels, bad


def _pass(
    store: ImageStore, names: list[str], side: int | None, how: Image.Resampling, most_odd: int
) -> tuple[npt.NDArray[np.uint8], dict[int, str], list[str]]:
    """Decode images, resized to ``side`` if it is given, until so many have another size than the first one."""
    pixels: npt.NDArray[np.uint8] = np.empty((0, 3, 1, 1), dtype=np.uint8)
    bad: dict[int, str] = {}
    odd: list[str] = []
    size, taken = (0, 0), 0
    for row, name in enumerate(names):
        try:
            image = read_image(store.source(name))
        except ImageFileError as error:
            bad[row] = str(error)
            continue
        if side is not None:
            image = image.resize((side, side), how)
        if not taken:
            size = image.size
            shape = (len(names), 3, size[1], size[0])
            require_memory(store.place, math.prod(shape), f"its {len(names)} images of {size[0]}x{size[1]} pixels")
            pixels = np.empty(shape, dtype=np.uint8)
        if image.size != size:
            odd.append(f"{name} {image.width}x{image.height}")
            if len(odd) == most_odd:
                break
            continue
        pixels[taken] = np.asarray(image).transpose(2, 0, 1)
        taken += 1
    return pixels[:taken], bad, odd


def _kept(path: Path, count: int) -> npt.NDArray[np.uint8] | None:
    """Return the array of so many images that an earlier run has kept; None if there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        pixels = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        log.warning("%s: this array of decoded images is damaged (%s): they are decoded again", path, error)
        return None
    return pixels if pixels.dtype == np.uint8 and pixels.ndim == 4 and len(pixels) == count else None
