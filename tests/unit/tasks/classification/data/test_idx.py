"""IDX files: what is read of them, and what is refused."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.errors import DataError
from lab.tasks.classification.data.idx import IdxDataModule, read_idx
from tests.unit.tasks.classification.makers import make_idx, make_mnist

TRAIN = {"images": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte"}
TEST = {"images": "t10k-images-idx3-ubyte", "labels": "t10k-labels-idx1-ubyte"}


def module(root: Path, **options: Any) -> IdxDataModule:
    return IdxDataModule(str(root), TRAIN, TEST, **{"batch_size": 4, **options})


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_read(tmp_path: Path, suffix: str) -> None:
    data = module(make_mnist(tmp_path, suffix=suffix))
    spec = data.spec
    assert (spec.class_names, spec.input_shape) == (("0", "1", "2", "3"), (3, 6, 6))
    assert spec.class_counts == (9, 9, 9, 9)
    test = data.dataset("test")
    sample = test[0, 2]
    assert (sample.label, sample.image_id, sample.original_size, sample.moves) == (2, 2, (6, 6), None)
    expected = torch.arange(72, 108, dtype=torch.uint8).view(6, 6)
    assert torch.equal(sample.image, expected.expand(3, 6, 6))
    assert data.first_batch().moves is not None


def test_packed_and_plain_files_are_the_same_data(tmp_path: Path) -> None:
    plain, packed = module(make_mnist(tmp_path / "a")), module(make_mnist(tmp_path / "b", suffix=".gz"))
    assert plain.fingerprint() == packed.fingerprint()
    assert plain.fingerprint() != module(tmp_path / "a", val_share=0.2).fingerprint()


def test_what_is_held_out_is_balanced_and_decided_by_the_seed(tmp_path: Path) -> None:
    root = make_mnist(tmp_path)
    data = module(root, val_share=0.2)
    parts = {split: set(data.dataset(split).rows.tolist()) for split in ("train", "val")}
    assert (len(parts["train"]), len(parts["val"])) == (32, 8)
    assert parts["train"] | parts["val"] == set(range(40))
    assert data.dataset("val").class_counts().counts == (2, 2, 2, 2)
    assert set(module(root, val_share=0.2).dataset("val").rows.tolist()) == parts["val"]
    assert set(module(root, val_share=0.2, seed=1).dataset("val").rows.tolist()) != parts["val"]
    assert len(module(root, val_share=None).dataset("val")) == 10


def test_a_few_labels_are_balanced_and_decided_by_their_seed(tmp_path: Path) -> None:
    root = make_mnist(tmp_path)
    few = [module(root, num_labels=8, label_seed=seed).dataset("train") for seed in (0, 0, 1)]
    assert [dataset.class_counts().counts for dataset in few] == [(2, 2, 2, 2)] * 3
    assert few[0].rows.tolist() == few[1].rows.tolist() != few[2].rows.tolist()
    held_out = set(module(root).dataset("val").rows.tolist())
    assert not held_out & set(few[0].rows.tolist())
    assert len(module(root, num_labels=36).dataset("train")) == 36
    for count in (3, 37):
        with pytest.raises(
            DataError, match=rf"data\.num_labels={count}: give one for each of the 4 classes at least, and"
        ):
            module(root, num_labels=count).dataset("train")


def test_sizes_and_names(tmp_path: Path) -> None:
    data = module(make_mnist(tmp_path), image_size=9, class_names=["a", "b", "c", "d", "e"])
    assert data.spec.input_shape == (3, 9, 9)
    assert data.dataset("test")[0, 0].image.shape == (3, 9, 9)
    assert data.spec.class_counts == (9, 9, 9, 9, 0)


def test_augmentation_is_a_function_of_the_sample(tmp_path: Path) -> None:
    root = make_mnist(tmp_path)
    one, other = (module(root, augmentation={"flip": 0.5, "shift": 3}).dataset("train") for _ in range(2))
    moves = [one[epoch, index].moves for epoch in range(2) for index in range(20)]
    assert moves == [other[epoch, index].moves for epoch in range(2) for index in range(20)]
    assert moves[:20] != moves[20:]


def test_a_shift_is_reflected_by_less_than_an_image_is_long(tmp_path: Path) -> None:
    root = make_mnist(tmp_path)
    reflected = {"shift": 5, "padding_mode": "reflect"}
    assert module(root, augmentation=reflected).dataset("train")[0, 0].moves[3] == 1
    module(root, augmentation={"shift": 6}).dataset("train")
    with pytest.raises(DataError, match=r"data\.augmentation\.shift=6: images of 6x6 are reflected by less"):
        module(root, augmentation=reflected | {"shift": 6}).dataset("train")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _end_of_gz(path: Path) -> None:
    packed = path.with_name(f"{path.name}.gz")
    make_idx(packed, np.zeros((40, 6, 6)))
    packed.write_bytes(packed.read_bytes()[:-6])
    path.unlink()


IMAGES, LABELS = TRAIN["images"], TRAIN["labels"]
BAD: dict[str, tuple[str, Any, str]] = {
    "missing": (LABELS, Path.unlink, "there is neither "),
    "cut": (IMAGES, _cut, "its header says 40x6x6, 1440 values, and it holds 1435"),
    "longer": (IMAGES, lambda path: path.write_bytes(path.read_bytes() + b"x"), "1440 values, and it holds more"),
    "empty": (LABELS, lambda path: path.write_bytes(b""), "is no IDX file: it begins with nothing"),
    "text": (LABELS, lambda path: path.write_bytes(b"<html>"), "is no IDX file: it begins with 3c 68 74 6d"),
    "floats": (IMAGES, lambda path: make_idx(path, np.zeros((40, 6, 6)), 13), "of type 0x0d, and unsigned bytes"),
    "other labels": (LABELS, lambda path: make_idx(path, np.zeros(39)), "has 40 images, "),
    "swapped": (IMAGES, lambda path: make_idx(path, np.zeros(40)), "has 1 dimensions and "),
    "one class": (LABELS, lambda path: make_idx(path, np.zeros(40)), "all images are of one class, '0': there is noth"),
    "no image": (IMAGES, lambda path: make_idx(path, np.zeros((0, 6, 6))), "has 0 images, "),
    "broken gz": (IMAGES, _end_of_gz, "cannot be read: Compressed file ended"),
    "huge": (
        LABELS,
        lambda path: path.write_bytes(b"\0\0\x08\x02" + b"\xff" * 8),
        "its header says 4294967295x4294967295, more than",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path, case: str) -> None:
    name, spoil, says = BAD[case]
    make_mnist(tmp_path)
    spoil(tmp_path / name)
    with pytest.raises(DataError, match=re.escape(says)) as caught:
        module(tmp_path).dataset("train")
    assert str(tmp_path / name.partition("-")[0]) in str(caught.value)


def test_a_label_outside_of_the_range_is_refused(tmp_path: Path) -> None:
    make_mnist(tmp_path)
    with pytest.raises(
        DataError, match=r"10 labels are of no class, the first of image 3: 3, and classes go from 0 to 2"
    ):
        module(tmp_path, class_names=["a", "b", "c"]).dataset("train")
    make_idx(tmp_path / TEST["labels"], np.full(10, 7))
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte: 10 labels are of no class, the first of image 0: 7"):
        module(tmp_path).dataset("test")


def test_a_type_of_many_dimensions_is_no_array(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\0\x08\x09" + b"\0" * 36)
    with pytest.raises(DataError, match="is no IDX file"):
        read_idx(tmp_path / "a")


def test_another_folder_is_read_where_root_is_missing(tmp_path: Path) -> None:
    make_mnist(tmp_path / "packaged")
    data = IdxDataModule(
        str(tmp_path / "own"), TRAIN, TEST, batch_size=4, fallback_root=str(tmp_path / "packaged"), class_names=None
    )
    assert len(data.dataset("test")) == 10
    make_mnist(tmp_path / "own", num_test=6)
    assert len(module(tmp_path / "own", fallback_root=str(tmp_path / "packaged")).dataset("test")) == 6


def test_fashion_mnist_as_debian_has_it() -> None:
    """The published set: 60,000 and 10,000 images, equally many of each class; known labels and pixels."""
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip(f"needs {folder}: apt-get install dataset-fashion-mnist")
    data = module(Path("nowhere"), fallback_root=str(folder), batch_size=128)
    assert data.spec.class_counts == (5400,) * 10
    test = data.dataset("test")
    assert test.class_counts().counts == (1000,) * 10
    assert data.arrays("train").labels[:10].tolist() == [
        9,
        0,
        0,
        3,
        0,
        2,
        7,
        2,
        5,
        5,
    ]
    assert test.arrays.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    with gzip.open(folder / TRAIN["images"].replace("ubyte", "ubyte.gz")) as file:
        expected = np.frombuffer(file.read()[16 : 16 + 784], dtype=np.uint8).reshape(28, 28)
    assert np.array_equal(data.arrays("train").images[0, 0], expected)


def test_the_labels_of_the_authors() -> None:
    folder = Path(os.environ.get("LAB_DATA_DIR", "data")) / "fashion_mnist_5class"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    labels = read_idx(folder / "official_train-labels-idx1-ubyte.gz")
    assert np.bincount(labels).tolist() == [6000] * 10
    assert labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert np.bincount(read_idx(folder / "official_t10k-labels-idx1-ubyte.gz")).tolist() == [1000] * 10
