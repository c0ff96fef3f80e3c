"""Folders of classes: what is read, counted and refused."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lab.data.presence import describe_presence
from lab.errors import DataError
from lab.tasks.classification.data.folder import ImageFolderModule
from lab.tasks.classification.data.transforms import EvalTransform
from tests.data_factory import truncate
from tests.unit.tasks.classification.makers import make_folder


def module(root: Path, **options: Any) -> ImageFolderModule:
    given = {"train": {"images": "train"}, "val": {"images": "val"}, "image_size": 16, "batch_size": 2, **options}
    return ImageFolderModule(str(root), **given)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path, {"train/cat": 4, "train/dog": 2, "val/cat": 1, "val/dog": 2})


def test_what_is_read(root: Path) -> None:
    data = module(root)
    spec = data.spec
    assert (spec.class_names, spec.class_counts) == (("cat", "dog"), (4, 2))
    assert (spec.input_shape, spec.resize) == ((3, 16, 16), 18)
    val = data.dataset("val")
    assert [val[0, index].label for index in range(3)] == [0, 1, 1]
    expected = EvalTransform((16, 16), 18)(Image.open(root / "val" / "dog" / "1.png"))
    assert torch.equal(val[0, 2].image, expected)
    batch = data.first_batch()
    assert batch.images.shape == (2, 3, 16, 16)
    assert batch.moves is not None
    train = data.dataset("train")
    assert torch.equal(train[3, 1].image, module(root).dataset("train")[3, 1].image)
    assert not torch.equal(train[3, 1].image, train[4, 1].image)


def test_a_share_is_held_out_balanced(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train/a": 10, "train/b": 10})
    data = module(tmp_path, val={"images": "train"}, val_share=0.2)
    assert data.dataset("train").class_counts().counts == (8, 8)
    assert data.dataset("val").class_counts().counts == (2, 2)
    names = [
        {data.dataset(split).image_path(row) for row in range(len(data.dataset(split)))} for split in ("train", "val")
    ]
    assert not names[0] & names[1]


def test_bad_files_are_counted_by_name(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / "cat" / "empty.jpg").write_bytes(b"")
    (root / "train" / "stray.png").write_bytes((root / "train" / "cat" / "0.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        dataset = module(root).dataset("train")
    assert len(dataset) == 6
    (line,) = [record.getMessage() for record in caplog.records if "unreadable" in record.getMessage()]
    assert (
        "unreadable images, 6 of 8 are trained on: 2 (cat/empty.jpg (empty), stray.png (in no class's folder))" in line
    )
    with pytest.raises(DataError, match=re.escape("unreadable images: 2 (cat/empty.jpg (empty)")):
        module(root, on_bad_sample="error").dataset("train")


def test_an_image_damaged_in_its_pixels_is_black_in_evaluation(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    truncate(root / "val" / "cat" / "0.png")
    with caplog.at_level(logging.WARNING):
        sample = module(root).dataset("val")[0, 0]
    assert int(sample.image.max()) == 0
    assert "0.png cannot be decoded" in caplog.text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"val/bird": 1}, r"val: bird: no such class in the training set, which has cat, dog$"),
        ({"val/bird": 1, "val/fish": 0}, r"val: bird, fish: no such class"),
    ],
)
def test_classes_that_differ_are_refused(root: Path, more: dict[str, int], says: str) -> None:
    make_folder(root, more)
    with pytest.raises(DataError, match=says):
        module(root).dataset("val")


def test_a_class_without_an_image_is_told(root: Path) -> None:
    (root / "train" / "bird").mkdir()
    lines = describe_presence(module(root), ("train", "val"))
    assert "training: 1 of 3 classes have no image (bird): they cannot be learnt" in lines
    assert "validation: 1 of 3 classes have no image (bird): they have no part in the means" in lines


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"train/cat": 2}, r"train: there is one folder, 'cat' in it, and each class has a folder of its own, two at"),
        ({"train": 2}, r"train: there is no folder in it, and each class has a folder of its own, two at least"),
        ({"val/cat": 2}, r"no folder .*/train: looked in data\.root="),
        ({"train/cat": 0, "train/dog": 0}, r"train: there is no image in the folders of its 2 classes"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, counts: dict[str, int], says: str) -> None:
    make_folder(tmp_path, counts)
    with pytest.raises(DataError, match=says):
        module(tmp_path).dataset("train")


def test_one_class_with_images_is_nothing_to_learn(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / "empty").mkdir()
    with caplog.at_level(logging.WARNING):
        assert module(root).spec.class_counts == (4, 2, 0)
    assert "no image to train on of 1 of 3 classes: empty" in caplog.text
    for file in (root / "train" / "dog").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="all images are of one class, 'cat'"):
        module(root).dataset("train")


def test_a_test_set_of_its_own_is_not_taken_for_the_validation_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_folder(tmp_path, {"train/a": 10, "train/b": 10, "test/a": 2, "test/b": 2})
    with caplog.at_level(logging.WARNING):
        data = module(tmp_path, val_share=0.2, test={"images": "test"})
        assert (len(data.dataset("train")), len(data.dataset("val")), len(data.dataset("test"))) == (16, 4, 4)
    assert "16 train, 4 val" in caplog.text
    assert "the test is on the validation set" not in caplog.text
