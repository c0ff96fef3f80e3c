"""Small images that are decoded once into an array: what is read, counted and refused."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lab.data.caches import cache_folder
from lab.errors import DataError
from lab.tasks.classification.data import small
from lab.tasks.classification.data.small import SmallImagesModule
from tests.data_factory import make_image, truncate
from tests.unit.tasks.classification.makers import make_folder, make_zip


def module(root: Path, train: str = "train", test: str = "test", **options: Any) -> SmallImagesModule:
    return SmallImagesModule(str(root), {"images": train}, {"images": test}, **{"batch_size": 4, **options})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folder(tmp_path, {"train/cat": 10, "train/dog": 10, "test/cat": 2, "test/dog": 3}, (8, 8))


def test_what_is_read(root: Path) -> None:
    data = module(root)
    spec = data.spec
    assert (spec.class_names, spec.input_shape, spec.class_counts) == (("cat", "dog"), (3, 8, 8), (9, 9))
    sample = data.dataset("test")[0, 3]
    assert (sample.label, sample.original_size) == (1, (8, 8))
    expected = np.asarray(Image.open(root / "test" / "dog" / "1.png").convert("RGB")).transpose(2, 0, 1)
    assert torch.equal(sample.image, torch.from_numpy(expected.copy()))
    batch = data.first_batch()
    assert (batch.images.dtype, batch.images.shape, batch.moves.shape) == (torch.uint8, (4, 3, 8, 8), (4, 4))


@pytest.mark.parametrize("packed", ["stored", "deflated"])
def test_a_zip_gives_the_same_samples(root: Path, packed: str) -> None:
    method = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}[packed]
    make_zip(root / "train.zip", root / "train", "animals/train", method)
    make_zip(root / "all.zip", root, "", method, only=("train", "test"))
    before = set(root.rglob("*"))
    folder = module(root)
    for zipped in (module(root, "train.zip"), module(root / "all.zip")):
        assert zipped.spec == folder.spec
        for split in ("train", "val", "test"):
            one, other = folder.dataset(split), zipped.dataset(split)
            assert np.array_equal(one.arrays.images, other.arrays.images)
            assert one.rows.tolist() == other.rows.tolist()
    assert set(root.rglob("*")) == before  # nothing was unpacked


def test_images_that_cannot_be_read_are_counted_by_name(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    truncate(root / "train" / "cat" / "3.png")
    (root / "train" / "dog" / "empty.jpg").write_bytes(b"")
    make_image(8, 8).save(root / "train" / "stray.png")
    with caplog.at_level(logging.WARNING):
        data = module(root)
        assert len(data.arrays("train").labels) == 19
    assert np.bincount(data.arrays("train").labels).tolist() == [9, 10]
    assert "unreadable images, 19 of 22 are taken: 3 (stray.png (in no class's folder), cat/3.png (" in caplog.text
    assert "dog/empty.jpg (empty))" in caplog.text
    with pytest.raises(DataError, match=r"unreadable images: 3 \(stray\.png .*data\.on_bad_sample=skip"):
        module(root, on_bad_sample="error").arrays("train")


def test_sizes_that_differ_are_refused_or_resized(root: Path) -> None:
    make_image(8, 11).save(root / "train" / "dog" / "wide.png")
    with pytest.raises(
        DataError, match=re.escape("images differ in size, the first is 8x8, others are not (dog/wide.png 11x8); set")
    ):
        module(root).arrays("train")
    data = module(root, image_size=6)
    assert data.arrays("train").images.shape == (21, 3, 6, 6)
    assert data.arrays("test").images.shape == (5, 3, 8, 8)
    assert data.dataset("test")[0, 0].image.shape == (3, 6, 6)


def test_what_took_long_is_kept(root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(small, "WORTH_KEEPING", 0.0)
    before = set((cache_folder() / "lab-arrays").glob("*"))
    first = module(root).arrays("train")
    (kept,) = set((cache_folder() / "lab-arrays").glob("*")) - before
    with monkeypatch.context() as patch:
        patch.setattr(small, "decode", None)
        again = module(root)
        assert np.array_equal(first.images, again.arrays("train").images)
        assert again.first_batch().images.shape == (4, 3, 8, 8)
    os.truncate(kept, 200)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(first.images, module(root).arrays("train").images)
    assert "this array of decoded images is damaged" in caplog.text
    kept.unlink()


def test_too_many_for_the_memory(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lab.data.memory.MEMORY", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemAvailable: 2 kB\n")
    with pytest.raises(DataError, match=r"train: its 20 images of 8x8 pixels take .* GiB at least, this machine has"):
        module(root).arrays("train")


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ("nothing", r"no folder .*/nothing: looked in data\.root="),
        ("test/cat", r"test/cat: there is no folder in it, and each class has a folder of its own, two at least"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(root: Path, train: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        module(root, train).arrays("train")


def test_classes_that_differ_are_refused(root: Path) -> None:
    make_folder(root, {"test/bird": 1}, (8, 8))
    with pytest.raises(DataError, match=r"test: bird: no such class in the training set, which has cat, dog$"):
        module(root).arrays("test")


def test_real_images() -> None:
    """CIFAR-10 as JPEG: the first image of the test is the one that PIL decodes."""
    folder = Path(os.environ.get("LAB_DATA_DIR", "data")) / "cifar10_jpg"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    data = module(folder, "test_200_per_class.zip", "test_200_per_class.zip", batch_size=128)
    assert data.spec.class_names[:3] == ("airplane", "automobile", "bird")
    assert data.dataset("test").class_counts().counts == (200,) * 10
    with zipfile.ZipFile(folder / "test_200_per_class.zip") as archive, archive.open("test/cat/0007.jpg") as file:
        expected = np.asarray(Image.open(file))
    assert np.array_equal(data.arrays("test").images[607].transpose(1, 2, 0), expected)


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_images_of_several_sizes_are_resized_as_asked(root: Path, name: str) -> None:
    """Images of one size are left to the transforms."""
    for split in ("train", "test"):
        Image.new("RGB", (12, 9), (200, 10, 30)).save(root / split / "dog" / "9.png")
    found = module(root, image_size=16, interpolation=name).dataset("test")[0, 3].image
    file = Image.open(root / "test" / "dog" / "1.png").convert("RGB")
    wanted = file.resize((16, 16), Image.Resampling[name.upper()])
    assert np.array_equal(found.numpy(), np.asarray(wanted).transpose(2, 0, 1))
