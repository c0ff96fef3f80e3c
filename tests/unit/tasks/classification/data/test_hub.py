"""Datasets that ``datasets`` reads: local ones that the test writes, and what is said where one cannot be had."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image

from lab.errors import ConfigError, DataError
from lab.tasks.classification.data.hub import HubModule
from lab.tasks.classification.data.transforms import EvalTransform
from tests.data_factory import make_image
from tests.unit.tasks.classification.makers import make_folder

NAMES = ["cat", "dog", "owl"]


def module(path: Path | str, **options: Any) -> HubModule:
    return HubModule(str(path), **{"image_size": 16, "batch_size": 2, "num_workers": 0, **options})


def packed(number: int, form: str = "PNG") -> dict[str, Any]:
    file = io.BytesIO()
    make_image(20, 24, number).save(file, form)
    return {"bytes": file.getvalue(), "path": f"{number}.png"}


def table(count: int, labels: Any = None, more: dict[str, Any] | None = None) -> datasets.Dataset:
    features = datasets.Features({"image": datasets.Image(), "label": labels or datasets.ClassLabel(names=NAMES)})
    values = [number % 3 for number in range(count)]
    if labels is not None and labels.dtype == "string":
        values = [NAMES[value] for value in values]
    content = {"image": [packed(number) for number in range(count)], "label": values}
    made = datasets.Dataset.from_dict(content, features=features)
    for name, column in (more or {}).items():
        made = made.add_column(name, column)
    return made


def on_disk(folder: Path, **splits: datasets.Dataset) -> Path:
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return folder


def as_parquet(folder: Path, **splits: datasets.Dataset) -> Path:
    (folder / "data").mkdir(parents=True)
    for name, split in splits.items():
        split.to_parquet(str(folder / "data" / f"{name}-00000-of-00001.parquet"))
    return folder


@pytest.mark.parametrize("write", [on_disk, as_parquet])
def test_what_is_read(tmp_path: Path, write: Any) -> None:
    data = module(write(tmp_path / "set", train=table(30), test=table(6)))
    spec = data.spec
    assert (spec.class_names, spec.class_counts) == (tuple(NAMES), (9, 9, 9))
    assert data.dataset("val").class_counts().counts == (1, 1, 1)
    sample = data.dataset("test")[0, 4]
    assert (sample.label, sample.image_id, sample.original_size) == (1, 4, (20, 24))
    assert torch.equal(sample.image, EvalTransform((16, 16), 18)(Image.open(io.BytesIO(packed(4)["bytes"]))))
    assert data.first_batch().images.shape == (2, 3, 16, 16)
    assert module(tmp_path / "set").fingerprint() == data.fingerprint()


def test_an_image_folder_of_datasets(tmp_path: Path) -> None:
    """Images that lie as files beside the table; the classes are the folders' names."""
    make_folder(tmp_path, {"train/cat": 4, "train/dog": 4, "test/cat": 1, "test/dog": 2})
    data = module(tmp_path, val_share=0.25)
    assert data.spec.class_names == ("cat", "dog")
    assert data.spec.class_counts == (3, 3)
    test = data.dataset("test")
    assert [test[0, row].label for row in range(3)] == [0, 1, 1]
    before = data.fingerprint()
    make_image(20, 24, 99).save(tmp_path / "test" / "dog" / "1.png")
    assert module(tmp_path, val_share=0.25).fingerprint() != before


@pytest.mark.parametrize(("kind", "names"), [("string", ("cat", "dog", "owl")), ("int64", ("0", "1", "2"))])
def test_labels_of_texts_and_numbers(tmp_path: Path, kind: str, names: tuple[str, ...]) -> None:
    whole = table(30, datasets.Value(kind))
    data = module(on_disk(tmp_path / "set", train=whole, test=table(6, datasets.Value(kind))))
    assert data.spec.class_names == names
    assert [data.dataset("test")[0, row].label for row in range(3)] == [0, 1, 2]


def test_columns_and_splits_by_name(tmp_path: Path) -> None:
    whole = table(30).rename_columns({"image": "photo", "label": "kind"})
    coarse = whole.add_column("group", [row % 2 for row in range(30)])
    data = module(
        on_disk(tmp_path / "set", learn=coarse, check=coarse),
        **{"train": "learn", "val": "check", "val_share": None, "test": None},
        label_column="group",
    )
    assert data.spec.class_names == ("0", "1")
    assert len(data.dataset("val")) == len(data.dataset("test")) == len(data.dataset("train")) == 30


def test_few_labels_and_a_long_tail(tmp_path: Path) -> None:
    path = on_disk(tmp_path / "set", train=table(60), test=table(6))
    data = module(path, val_share=0.1, num_labels=6)
    assert data.spec.class_counts == (2, 2, 2)
    tail = module(path, val_share=0.1, imbalance=9)
    assert tail.spec.class_counts == (18, 6, 2)
    assert tail.dataset("val").class_counts().counts == (2, 2, 2)


def test_what_cannot_be_used_is_counted_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = table(30).cast_column("image", datasets.Image(decode=False)).to_list()
    whole[0]["image"]["bytes"] = b""
    whole[1]["image"]["bytes"] = whole[1]["image"]["bytes"][:30]
    whole[2]["image"] = None
    whole[4]["image"] = {"bytes": b"%!PS-Adobe", "path": None}
    whole[5]["label"] = -1
    whole[6]["label"] = None
    made = datasets.Dataset.from_list(whole, features=table(1).features)
    data = module(on_disk(tmp_path / "set", train=made, test=table(6)), val="test", val_share=None)
    with caplog.at_level(logging.WARNING):
        assert len(data.dataset("train")) == 24
    assert "set/train: unreadable images, 24 of 30 are trained on: 6 (row 0 (empty), row 1 (not an " in caplog.text
    for said in ("row 2 (without an image)", "row 4 (PostScript, which is a program: it is not opened)"):
        assert said in caplog.text
    assert "row 5 (its label is -1, of no class) and 1 more)" in caplog.text
    with pytest.raises(DataError, match=r"unreadable images: "):
        module(tmp_path / "set", on_bad_sample="error").dataset("train")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"train": "trian"}, "it has no split 'trian', only train, test; did you mean 'train'"),
        ({"image_column": "imag"}, "data.image_column=imag: "),
        ({"image_column": "size"}, "its column 'size' holds Value"),
        (
            {"label_column": "lable"},
            "has no such column but image (Image), label (ClassLabel), size (int64)",
        ),
        ({"label_column": "weight"}, "its column 'weight' (float64) has no labels: a class, a text or a number from 0"),
        ({"label_column": "one"}, "all images are of one class, 'x'"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    more = {"size": list(range(12)), "weight": [0.5] * 12, "one": ["x"] * 12}
    path = on_disk(tmp_path / "set", train=table(12, more=more), test=table(6))
    with pytest.raises(DataError, match=re.escape(says)):
        module(path, **options).dataset("train")


def test_columns_that_are_not_clear_and_classes_that_differ(tmp_path: Path) -> None:
    two = table(12).add_column("photo", [packed(row) for row in range(12)], feature=datasets.Image())
    with pytest.raises(DataError, match=r"it has no column of labels; name one by data\.label_column: image \(Image\)"):
        module(on_disk(tmp_path / "a", train=two.remove_columns("label"))).dataset("train")
    named = two.rename_column("image", "front")
    with pytest.raises(DataError, match=r"it has several columns of images; name one by data\.image_column: front \(I"):
        module(on_disk(tmp_path / "b", train=named)).dataset("train")
    other = table(6, datasets.ClassLabel(names=["cat", "dog", "cow"]))
    data = module(on_disk(tmp_path / "c", train=table(12), test=other))
    with pytest.raises(DataError, match=r"c/test: cow: no such class in the training set, which has cat, dog, owl$"):
        data.dataset("test")


def test_validation_is_given_once(tmp_path: Path) -> None:
    for options in ({"val": "validation"}, {"val_share": None}):
        with pytest.raises(ConfigError, match=r"name the split that validates, or give the share of the training set"):
            module(tmp_path, **options)


def test_what_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"data\.path=.*/none: there is no such folder, and a name at the Hub is OWNER"):
        module(tmp_path / "none").dataset("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"data\.path=.*empty: it cannot be read: "):
        module(tmp_path / "empty").dataset("train")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "train.parquet").write_bytes(b"PAR1 is what it says")
    with pytest.raises(DataError, match=r"data\.path=.*bad: it cannot be read: "):
        module(tmp_path / "bad").dataset("train")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"data\.path=somebody/nothing: it is not in the cache, and the Hub cannot be"):
        module("somebody/nothing").dataset("train")


def test_no_code_of_a_dataset_is_run(tmp_path: Path) -> None:
    folder = as_parquet(tmp_path / "set", train=table(6))
    ran = tmp_path / "ran"
    for name in ("set.py", "dataset.py", "data/set.py"):
        (folder / name).write_text(f"open({str(ran)!r}, 'w')\nraise SystemExit\n")
    with pytest.raises(DataError, match=r"data\.path=.*set: it cannot be read: .*script"):
        module(folder, test=None).dataset("train")
    assert not ran.exists()
