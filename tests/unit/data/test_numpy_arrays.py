"""Arrays of NumPy's files by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.data.numpy_arrays import array_names, read_array
from lab.errors import DataError

ARRAY = np.arange(12).reshape(3, 4)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    np.savez(tmp_path / "a.npz", x_train=ARRAY)
    np.save(tmp_path / "b.npy", ARRAY)
    return tmp_path


def test_arrays_by_name(root: Path) -> None:
    assert array_names(root / "a.npz") == ["x_train"]
    assert array_names(root / "b.npy") == []
    assert np.array_equal(read_array(root / "a.npz" / "x_train"), ARRAY)
    assert np.array_equal(read_array(root / "b.npy"), ARRAY)


def test_names_that_are_not_there(root: Path) -> None:
    with pytest.raises(DataError, match=r"a\.npz: it holds no array 'x_trai': name one of a\.npz/x_train; did you"):
        read_array(root / "a.npz" / "x_trai")
    with pytest.raises(DataError, match=r"a\.npz: it holds several arrays: name one of a\.npz/x_train$"):
        read_array(root / "a.npz")
    with pytest.raises(DataError, match=r"there is no .*b\.npy/x: b\.npy is one array, of no \.npz"):
        read_array(root / "b.npy" / "x")
    (root / "c.npz").write_text("no array at all")
    with pytest.raises(DataError, match=r"c\.npz: neither an \.npz nor an \.npy"):
        array_names(root / "c.npz")
