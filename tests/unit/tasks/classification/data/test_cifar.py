"""CIFAR's pickles: their content without running anything, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.errors import DataError
from lab.tasks.classification.data.cifar import CifarDataModule
from tests.unit.tasks.classification.makers import as_python_2, make_cifar10


def test_what_is_read(tmp_path: Path) -> None:
    data = CifarDataModule(str(make_cifar10(tmp_path)), batch_size=5)
    assert data.spec.class_names[:2] == ("class 0", "class 1")
    assert data.spec.input_shape == (3, 32, 32)
    assert (len(data.dataset("train")), len(data.dataset("val")), len(data.dataset("test"))) == (45, 5, 10)
    sample = data.dataset("test")[0, 1]
    # The second row of the sixth file: 3072 values from 3072 + 5, red first.
    expected = ((torch.arange(3072) + 3072 + 5) % 256).to(torch.uint8).view(3, 32, 32)
    assert torch.equal(sample.image, expected)
    assert (sample.label, sample.image_id) == (1, 1)


def test_cifar100_has_two_kinds_of_labels(tmp_path: Path) -> None:
    pixels = np.zeros((40, 3072), dtype=np.uint8)
    for name in ("train", "test"):
        batch = {b"data": pixels, b"fine_labels": list(range(40)), b"coarse_labels": [row % 20 for row in range(40)]}
        (tmp_path / name).write_bytes(as_python_2(batch))
    names = {
        b"fine_label_names": [f"f{number}".encode() for number in range(100)],
        b"coarse_label_names": [f"c{number}".encode() for number in range(20)],
    }
    (tmp_path / "meta").write_bytes(as_python_2(names))
    fine, coarse = (CifarDataModule(str(tmp_path), classes=classes, val_share=None) for classes in (100, 20))
    assert (fine.spec.num_classes, coarse.spec.num_classes) == (100, 20)
    assert (fine.dataset("test")[0, 39].label, coarse.dataset("test")[0, 39].label) == (39, 19)


class Attack:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("/tmp/lab-was-here"),)


BAD: dict[str, tuple[bytes, str]] = {
    "attack": (pickle.dumps({"data": Attack()}), r"is not read: .*names pathlib"),
    "no pickle": (b"<html>", "data_batch_3 is not read: "),
    "cut": (as_python_2({b"data": np.zeros((10, 3072), dtype=np.uint8)})[:-40], "data_batch_3 is not read: "),
    "a list": (as_python_2([1, 2]), "holds a list, and a batch of CIFAR is a dict"),
    "floats": (as_python_2({b"data": np.zeros((2, 3072)), b"labels": [0, 1]}), r"its 'data' is no array \(N, 3072\)"),
    "other width": (
        as_python_2({b"data": np.zeros((2, 10), dtype=np.uint8), b"labels": [0, 1]}),
        r"its 'data' is no array \(N, 3072\)",
    ),
    "no labels": (as_python_2({b"data": np.zeros((2, 3072), dtype=np.uint8)}), "its 'labels' is no list of 2 whole nu"),
    "texts": (
        as_python_2({b"data": np.zeros((2, 3072), dtype=np.uint8), b"labels": [b"a", b"b"]}),
        "its 'labels' is no list of 2 whole numbers",
    ),
    "outside": (
        as_python_2({b"data": np.zeros((1, 3072), dtype=np.uint8), b"labels": [10]}),
        "1 labels are of no class, the first of image 20: 10, and classes go from 0 to 9",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, case: str) -> None:
    content, says = BAD[case]
    make_cifar10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(content)
    with pytest.raises(DataError, match=says):
        CifarDataModule(str(tmp_path)).dataset("train")
    assert not Path("/tmp/lab-was-here").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    make_cifar10(tmp_path)
    (tmp_path / "test_batch").unlink()
    with pytest.raises(DataError, match=r"there is no .*/test_batch: unpack the python version of CIFAR"):
        CifarDataModule(str(tmp_path)).dataset("test")
    (tmp_path / "batches.meta").write_bytes(as_python_2({b"label_names": [b"a"]}))
    with pytest.raises(DataError, match=r"batches\.meta: it has no label_names, a list of 10 names"):
        CifarDataModule(str(tmp_path)).names()
