"""Images and labels in NumPy's files, ``.npy`` and ``.npz``. Arrays of objects, which are pickles, are never opened."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from lab.data.numpy_arrays import read_array
from lab.errors import ConfigError, DataError, closest
from lab.ranges import Len, Pixels
from lab.tasks.classification.data.arrays import Arrays
from lab.tasks.classification.data.numbered import NumberedModule

KEYS = ("images", "labels", "rows")
_SHAPES = "images have the shape (N, h, w), (N, h, w, 1 or 3), (N, 1 or 3, h, w), or flat rows (N, pixels)"


@dataclass(eq=False)
class NumpyModule(NumberedModule):
    """``data=arrays``: arrays of images and of labels, or one array with the labels in its last column.

    Args:
        train: the files ``images`` and ``labels`` to train on, relative to ``root``; of an ``.npz`` the array follows
            its name (``digits.npz/x_train``). Without ``labels`` they are the last column of ``images``. ``rows``,
            (first, end), takes these rows only.
        test: likewise.
        image_shape: (h, w) or (h, w, 3) of images that are stored as flat rows; None: they are square and grey.
    """

    train: Mapping[str, Any]
    test: Mapping[str, Any]
    _: KW_ONLY
    image_shape: Annotated[Sequence[Pixels], Len(2, 3)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for split, given in (("train", self.train), ("test", self.test)):
            for key in given:
                if key not in KEYS:
                    raise ConfigError(f"data.{split}.{key}: unknown key{closest(key, KEYS) or '; ' + ', '.join(KEYS)}")
            if not given.get("images"):
                raise ConfigError(f"data.{split} names no file of 'images'")

    def read(self, split: str) -> Arrays:
        """Return the images of a split.

        Raises:
            DataError: a file is missing or damaged, or holds no images or labels.
        """
        files = self.train if split == "train" else self.test
        path = self.folder / files["images"]
        images = read_array(path)
        if files.get("labels"):
            labels_path = self.folder / files["labels"]
            labels = read_array(labels_path)
        else:
            labels_path = path
            images, labels = _last_column(images, path)
        if len(images) != len(labels):
            raise DataError(f"{path} has {len(images)} images, {labels_path} {len(labels)} labels")
        chosen = _rows(files.get("rows"), len(images), split, path)
        pixels = as_pixels(images[chosen], self.image_shape, path)
        found = as_labels(labels[chosen], labels_path)
        digest = hashlib.sha256(b"numpy-1" + str(pixels.shape).encode())
        digest.update(np.ascontiguousarray(pixels).data)
        digest.update(found.data)
        return Arrays(pixels, found, digest.hexdigest(), str(path))


def _last_column(array: npt.NDArray[Any], path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if array.ndim != 2 or array.shape[1] < 2:
        raise DataError(
            f"{path}: its shape is {array.shape}, and labels are the last column of flat rows (N, pixels + 1); name "
            "another file of labels by data.train.labels, data.test.labels"
        )
    return array[:, :-1], array[:, -1]


def _rows(rows: Any, count: int, split: str, path: Path) -> slice:
    """Return the rows to take.

    Raises:
        DataError: they are none, or not there.
    """
    if rows is None:
        return slice(None)
    whole = isinstance(rows, Sequence) and len(rows) == 2 and all(type(row) is int for row in rows)
    if not whole or not 0 <= rows[0] < rows[1] <= count:
        raise DataError(
            f"{path}: data.{split}.rows={rows}: give [first, end] of the rows to take, from 0 to {count}, the end not "
            "among them"
        )
    return slice(rows[0], rows[1])


def as_pixels(images: npt.NDArray[Any], shape: Sequence[int] | None, path: Path) -> npt.NDArray[np.uint8]:
    """Return images as (N, 1 or 3, h, w) uint8.

    Args:
        images: in one of the shapes that are read; unsigned bytes, other whole numbers from 0 to 255, or floats from 0
            to 1.
        shape: (h, w) or (h, w, C) of flat rows; None: square and grey.
        path: for messages.

    Raises:
        DataError: they have another shape or range.
    """
    if images.ndim == 2:
        images = images.reshape(-1, *_flat_shape(images.shape[1], shape, path))
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise DataError(f"{path}: its shape is {images.shape}; {_SHAPES}")
    last, first = images.shape[3] in (1, 3), images.shape[1] in (1, 3)
    if not last and not first:
        raise DataError(f"{path}: its shape is {images.shape}; {_SHAPES}")
    if 0 in images.shape[1:]:
        raise DataError(f"{path}: images of the shape {images.shape[1:]} have no content")
    return np.ascontiguousarray(_as_bytes(images, path).transpose(0, 3, 1, 2) if last else _as_bytes(images, path))


def _flat_shape(pixels: int, shape: Sequence[int] | None, path: Path) -> tuple[int, ...]:
    side = math.isqrt(pixels)
    if shape is None and side * side != pixels:
        raise DataError(f"{path}: rows of {pixels} pixels are no square; set data.image_shape=[height,width] or [..,3]")
    given = (side, side) if shape is None else tuple(shape)
    if math.prod(given) != pixels:
        raise DataError(f"{path}: rows have {pixels} values, data.image_shape={list(given)} {math.prod(given)}")
    return given


def _as_bytes(images: npt.NDArray[Any], path: Path) -> npt.NDArray[np.uint8]:
    if images.dtype == np.uint8 or not images.size:
        return images.astype(np.uint8, copy=False)
    if images.dtype.kind not in "iuf":
        raise DataError(f"{path}: its values are of {images.dtype}; unsigned bytes are read, or floats from 0 to 1")
    low, high = images.min(), images.max()
    floats = images.dtype.kind == "f"
    most = 1 if floats else 255
    if not (low >= 0 and high <= most):
        raise DataError(
            f"{path}: its values of {images.dtype} go from {low:g} to {high:g}, and should from 0 to {most}: save them "
            "as unsigned bytes"
        )
    return np.rint(images * 255.0).astype(np.uint8) if floats else images.astype(np.uint8)


def as_labels(labels: npt.NDArray[Any], path: Path) -> npt.NDArray[np.int64]:
    """Return labels as (N,) int64.

    Raises:
        DataError: they are not one whole number for each image.
    """
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or flat.dtype.kind not in "iuf":
        raise DataError(f"{path}: labels of the shape {labels.shape} and {labels.dtype} are no whole number an image")
    limit = 2**31
    if flat.dtype.kind == "f" and not (np.isfinite(flat).all() and (flat == np.rint(flat)).all()):
        raise DataError(f"{path}: its labels are no whole numbers")
    if len(flat) and not (flat.min() > -limit and flat.max() < limit):
        raise DataError(f"{path}: a label of {flat.max()} is no number of a class")
    return np.ascontiguousarray(flat, dtype=np.int64)
