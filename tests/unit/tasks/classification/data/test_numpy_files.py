"""Arrays of NumPy: what is read of them, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.errors import ConfigError, DataError
from lab.tasks.classification.data.numpy_files import NumpyModule, as_pixels

PIXELS = (np.arange(40 * 4 * 5).reshape(40, 4, 5) % 256).astype(np.uint8)
LABELS = np.arange(40) % 4
HERE = Path("a.npy")


def module(root: Path, files: dict[str, Any] | None = None, **options: Any) -> NumpyModule:
    given = {"images": "images.npy", "labels": "labels.npy"} if files is None else files
    return NumpyModule(str(root), given, given, **{"batch_size": 4, **options})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    np.save(tmp_path / "images.npy", PIXELS)
    np.save(tmp_path / "labels.npy", LABELS)
    return tmp_path


def test_what_is_read(root: Path) -> None:
    data = module(root)
    assert (data.spec.class_names, data.spec.input_shape) == (("0", "1", "2", "3"), (3, 4, 5))
    assert data.spec.class_counts == (9, 9, 9, 9)
    sample = data.dataset("test")[0, 6]
    assert sample.label == 2
    assert torch.equal(sample.image, torch.from_numpy(PIXELS[6]).expand(3, 4, 5))


def test_forms_of_the_same_data(root: Path) -> None:
    """An ``.npz``, flat rows with the label last, columns first, floats, other whole numbers: equal to the bit."""
    expected = module(root)
    np.savez(root / "stored.npz", x=PIXELS, y=LABELS)
    np.savez_compressed(root / "packed.npz", x=PIXELS.astype(np.int32), y=LABELS.astype(np.float32)[:, None])
    np.save(root / "flat.npy", np.concatenate([PIXELS.reshape(40, 20).astype(np.int64), LABELS[:, None]], axis=1))
    np.save(root / "fortran.npy", np.asfortranarray(PIXELS / 255))
    for files in (
        {"images": "stored.npz/x", "labels": "stored.npz/y"},
        {"images": "packed.npz/x", "labels": "packed.npz/y"},
        {"images": "flat.npy"},
        {"images": "fortran.npy", "labels": "labels.npy", "rows": [0, 40]},
    ):
        other = module(root, files, image_shape=[4, 5])
        assert np.array_equal(other.arrays("train").images, PIXELS[:, None]), files
        assert other.fingerprint() == expected.fingerprint(), files


def test_rows_and_names(root: Path) -> None:
    files = {"images": "images.npy", "labels": "labels.npy"}
    data = NumpyModule(
        str(root), {**files, "rows": [0, 32]}, {**files, "rows": [32, 40]}, batch_size=4, class_names=list("abcde")
    )
    assert (len(data.arrays("train").labels), len(data.arrays("test").labels)) == (32, 8)
    assert np.array_equal(data.arrays("test").images, PIXELS[32:, None])
    assert data.spec.class_names == tuple("abcde")


@pytest.mark.parametrize(
    ("shape", "stored"),
    [((7, 3, 4, 5), (7, 3, 4, 5)), ((7, 4, 5, 3), (7, 3, 4, 5)), ((7, 1, 4, 5), (7, 1, 4, 5)), ((7, 16), (7, 1, 4, 4))],
)
def test_shapes(shape: tuple[int, ...], stored: tuple[int, ...]) -> None:
    assert as_pixels(np.zeros(shape, dtype=np.uint8), None, HERE).shape == stored


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (np.zeros((4, 6), np.uint8), "rows of 6 pixels are no square; set data.image_shape=[height,width]"),
        (np.zeros((4, 5, 6, 4), np.uint8), "its shape is (4, 5, 6, 4); images have the shape (N, h, w), (N, h, w, 1"),
        (np.zeros(4, np.uint8), "its shape is (4,); images have"),
        (np.zeros((4, 0, 6), np.uint8), "images of the shape (0, 6, 1) have no content"),
        (np.full((4, 5, 6), 256), "its values of int64 go from 256 to 256, and should from 0 to 255"),
        (np.full((4, 5, 6), 1.5), "its values of float64 go from 1.5 to 1.5, and should from 0 to 1"),
        (np.full((4, 5, 6), np.nan), "its values of float64 go from nan to nan"),
        (np.zeros((4, 5, 6), complex), "its values are of complex128; unsigned bytes are read"),
    ],
)
def test_images_that_are_none(images: np.ndarray, says: str) -> None:
    with pytest.raises(DataError, match=re.escape(says)):
        as_pixels(images, None, HERE)


BAD: dict[str, tuple[str, Any, str]] = {
    "more than there is": (
        "images.npy",
        lambda path: path.write_bytes(path.read_bytes().replace(b"(40, 4, 5), ", b"(9999999,), ")),
        "its header says (9999999,) of uint8, 9999999 bytes, and it holds 800",
    ),
    "missing": ("labels.npy", Path.unlink, "there is no "),
    "cut": (
        "images.npy",
        lambda path: os.truncate(path, 300),
        "its header says (40, 4, 5) of uint8, 800 bytes, and it",
    ),
    "cut in its header": ("images.npy", lambda path: os.truncate(path, 50), "cannot be read as an array of NumPy: EOF"),
    "empty": ("images.npy", lambda path: os.truncate(path, 0), "cannot be read as an array of NumPy"),
    "text": ("images.npy", lambda path: path.write_text("<html>not found</html>"), "cannot be read as an array"),
    "objects": (
        "labels.npy",
        lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
        "it holds objects, which are a pickle and never opened",
    ),
    "texts": ("labels.npy", lambda path: np.save(path, np.array(["a"] * 40)), "labels of the shape (40,) and <U1 are"),
    "fractions": ("labels.npy", lambda path: np.save(path, np.full(40, 0.5)), "its labels are no whole numbers"),
    "huge label": ("labels.npy", lambda path: np.save(path, np.full(40, 2**40)), "a label of 1099511627776 is no"),
    "negative label": (
        "labels.npy",
        lambda path: np.save(path, LABELS - 1),
        "10 labels are of no class, the first of image 0: -1, and classes go from 0 to 2",
    ),
    "one-hot": ("labels.npy", lambda path: np.save(path, np.eye(40)), "labels of the shape (40, 40) and float64 are"),
    "too few labels": ("labels.npy", lambda path: np.save(path, LABELS[:-1]), "images.npy has 40 images, "),
    "one class": ("labels.npy", lambda path: np.save(path, LABELS * 0), "all images are of one class, '0'"),
    "none": ("images.npy", lambda path: np.save(path, PIXELS[:0]), "images.npy has 0 images, "),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_refused_by_name(root: Path, case: str) -> None:
    name, spoil, says = BAD[case]
    spoil(root / name)
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        module(root).dataset("train")
    assert str(root) in str(caught.value)


@pytest.mark.parametrize("rows", [[0], [5, 5], [0, 41], [-1, 4], "0:5", [0, 4.0]])
def test_rows_that_are_not_there(root: Path, rows: Any) -> None:
    with pytest.raises(DataError, match=r"data\.train\.rows=.*: give \[first, end\] of the rows to take, from 0 to 40"):
        module(root, {"images": "images.npy", "labels": "labels.npy", "rows": rows}).dataset("train")


def test_keys(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.train\.label: unknown key; did you mean 'labels'"):
        module(root, {"images": "images.npy", "label": "labels.npy"})
    with pytest.raises(ConfigError, match=r"data\.train names no file of 'images'"):
        module(root, {"labels": "labels.npy"})


def test_real_images() -> None:
    """The five classes of Fashion-MNIST: 800 images of each to train on would be 4,000 in all; the labels say so."""
    folder = Path(os.environ.get("LAB_DATA_DIR", "data")) / "fashion_mnist_5class"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    name = "fashion_test.npy"
    data = NumpyModule(str(folder), {"images": name, "rows": [0, 4000]}, {"images": name, "rows": [4000, 5000]})
    stored = np.load(folder / name)
    assert data.spec.input_shape == (3, 28, 28)
    assert data.dataset("test").class_counts().counts == tuple(np.bincount(stored[4000:, -1]).tolist())
    assert np.array_equal(data.arrays("test").images.reshape(1000, 784), stored[4000:, :-1])
