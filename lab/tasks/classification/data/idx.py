"""IDX files, gzipped or not: MNIST, Fashion-MNIST, KMNIST, EMNIST and the like.

The format (http://yann.lecun.com/exdb/mnist): two zero bytes, the type of values (8: unsigned bytes), the number of
dimensions, each dimension as four bytes, the highest first; then the values, the last dimension fastest.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from lab.errors import DataError
from lab.ranges import Word
from lab.tasks.classification.data.arrays import Arrays
from lab.tasks.classification.data.numbered import NumberedModule

UNSIGNED_BYTES = 8
MOST_VALUES = 1 << 34
"""16 GiB: more is no array that is read as a whole."""


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Return the array of an IDX file; one whose name ends with ``.gz`` is unpacked.

    Raises:
        DataError: it is none, of other values than unsigned bytes, or shorter or longer than it says.
    """
    try:
        with cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as file:
            return _read(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _read(file: BinaryIO, path: Path) -> npt.NDArray[np.uint8]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or not 1 <= head[3] <= 4:
        raise DataError(f"{path} is no IDX file: it begins with {head.hex(' ') or 'nothing'}, not with 00 00")
    if head[2] != UNSIGNED_BYTES:
        raise DataError(f"{path}: its values are of type {head[2]:#04x}, and unsigned bytes, 0x08, are read")
    lengths = file.read(4 * head[3])
    if len(lengths) < 4 * head[3]:
        raise DataError(f"{path}: it ends within its header")
    shape = struct.unpack(f">{head[3]}I", lengths)
    count = math.prod(shape)
    if count > MOST_VALUES:
        raise DataError(f"{path}: its header says {'x'.join(map(str, shape))}, more than is read as a whole")
    content = file.read(count)
    if len(content) < count or file.read(1):
        held = "more" if len(content) == count else str(len(content))
        raise DataError(f"{path}: its header says {'x'.join(map(str, shape))}, {count} values, and it holds {held}")
    return np.frombuffer(bytearray(content), dtype=np.uint8).reshape(shape)


@dataclass(eq=False)
class IdxDataModule(NumberedModule):
    """``data=idx``, ``data=fashion_mnist``: a file of images and one of labels, to train on and to test on.

    Args:
        train: names of the files ``images`` and ``labels``, relative to ``root``; of each, ``.gz`` may follow.
        test: likewise.
        fallback_root: the folder that is read if ``root`` does not exist.
    """

    train: Mapping[str, str]
    test: Mapping[str, str]
    _: KW_ONLY
    fallback_root: Word | None = None

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        root = Path(self.root)
        return root if self.fallback_root is None or root.exists() else Path(self.fallback_root)

    def read(self, split: str) -> Arrays:
        """Return the images of a split, grey.

        Raises:
            DataError: a file is missing or damaged, or they do not belong together.
        """
        files = self.train if split == "train" else self.test
        images_path, labels_path = (self._find(files, part) for part in ("images", "labels"))
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.ndim != 3 or labels.ndim != 1:
            raise DataError(
                f"{images_path} has {images.ndim} dimensions and {labels_path} {labels.ndim}: images have 3 (number, "
                "height, width) and labels 1"
            )
        if len(images) != len(labels):
            raise DataError(f"{images_path} has {len(images)} images, {labels_path} {len(labels)} labels")
        if 0 in images.shape[1:]:
            raise DataError(f"{images_path}: images of {images.shape[1]}x{images.shape[2]} pixels have no content")
        digest = hashlib.sha256(b"idx-1" + images.tobytes() + labels.tobytes()).hexdigest()
        return Arrays(images[:, None], labels.astype(np.int64), digest, str(images_path))

    def _find(self, files: Mapping[str, str], part: str) -> Path:
        """Return the path of a file, with ``.gz`` or without."""
        if part not in files:
            raise DataError(f"data.train and data.test name the files of 'images' and 'labels', not {', '.join(files)}")
        path = self.folder / files[part]
        others = (path, path.with_name(f"{path.name}.gz"), path.with_name(path.name.replace("-idx", ".idx")))
        found = next((other for other in others if other.is_file()), None)
        if found is None:
            raise DataError(f"there is neither {path} nor {path.name}.gz; data.root names the folder of the IDX files")
        return found
