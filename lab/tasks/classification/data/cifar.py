"""CIFAR-10 and CIFAR-100 in their python version: pickles of arrays, of which nothing is run.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009); https://www.cs.toronto.edu/~kriz/cifar.html.
A batch is a dict with ``data`` (N, 3072) uint8, a row of red, green and blue pixels each of 32x32, and lists of labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lab.checkpoint.unpickling import read_arrays, reason_of
from lab.data.images.class_names import check_names
from lab.errors import DataError
from lab.tasks.classification.data.arrays import Arrays, ArraysModule

_SIDE = 32


@dataclass(eq=False)
class CifarDataModule(ArraysModule):
    """``data=cifar10``, ``data=cifar100``: the folder of the unpacked python version.

    Args:
        classes: 10 or 100, or 20: the coarse labels of CIFAR-100.
    """

    _: KW_ONLY
    classes: Literal[10, 20, 100] = 10

    def names(self) -> tuple[str, ...]:
        """Return the names that the file of names has.

        Raises:
            DataError: it has not as many.
        """
        name, key = {
            10: ("batches.meta", "label_names"),
            20: ("meta", "coarse_label_names"),
            100: ("meta", "fine_label_names"),
        }[self.classes]
        path = self.folder / name
        names = read_batch(path).get(key)
        if (
            not isinstance(names, list)
            or len(names) != self.classes
            or not all(isinstance(item, str) for item in names)
        ):
            raise DataError(f"{path}: it has no {key}, a list of {self.classes} names")
        check_names(names)
        return tuple(names)

    def read(self, split: str) -> Arrays:
        """Return the images of a split.

        Raises:
            DataError: a file is missing or holds something else.
        """
        key = {10: "labels", 20: "coarse_labels", 100: "fine_labels"}[self.classes]
        if self.classes == 10:
            files = [f"data_batch_{number}" for number in range(1, 6)] if split == "train" else ["test_batch"]
        else:
            files = [split]
        digest = hashlib.sha256(f"cifar-1:{self.classes}".encode())
        images, labels = [], []
        for name in files:
            pixels, found = batch_arrays(self.folder / name, key)
            images.append(pixels)
            labels.append(found)
            digest.update(pixels.tobytes() + found.tobytes())
        source = str(self.folder / (files[0] if len(files) == 1 else "data_batch_1 to 5"))
        return Arrays(np.concatenate(images), np.concatenate(labels), digest.hexdigest(), source)


def read_batch(path: Path) -> Mapping[str, Any]:
    """Return the dict of a file of CIFAR; only arrays and plain values are made of it.

    Raises:
        DataError: it is missing, damaged, or names anything else.
    """
    if not path.is_file():
        raise DataError(f"there is no {path}: unpack the python version of CIFAR, and name its folder by data.root")
    try:
        content = read_arrays(path)
    except Exception as error:  # pickle raises whatever it stumbles on; nothing that the file names was run
        raise DataError(f"{path} is not read: {reason_of(error)}") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: it holds a {type(content).__name__}, and a batch of CIFAR is a dict")
    return content


def batch_arrays(path: Path, key: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return images (N, 3, 32, 32) and labels (N,) of a batch.

    Args:
        path: the file.
        key: what its labels are called.

    Raises:
        DataError: it holds something else.
    """
    content = read_batch(path)
    pixels, labels = content.get("data"), content.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3 * _SIDE * _SIDE,):
        raise DataError(f"{path}: its 'data' is no array (N, 3072) of unsigned bytes")
    if not isinstance(labels, list) or any(type(label) is not int for label in labels) or len(labels) != len(pixels):
        raise DataError(f"{path}: its {key!r} is no list of {len(pixels)} whole numbers, one for each image")
    limit = 2**31
    if any(not -limit < label < limit for label in labels):
        raise DataError(f"{path}: its {key!r} holds a number that is no label")
    return pixels.reshape(-1, 3, _SIDE, _SIDE), np.array(labels, dtype=np.int64)
