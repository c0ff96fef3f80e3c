"""Tables of labels in every format that is read, and what is wrong with them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from lab.errors import ConfigError, DataError
from lab.tasks.classification.data.label_table import LabelFormat, read_labels
from lab.tasks.classification.data.multilabel import MultilabelModule
from tests.data_factory import make_image

LABELS = {"a.png": ("cat", "dog"), "b.png": (), "c.png": ("dog",), "sub/d.png": ("bird", "cat", "dog")}
CLASSES = ("bird", "cat", "dog")


def make_table(kind: str, path: Path, labels: dict[str, tuple[str, ...]] = LABELS) -> Path:
    """Write a table in one of the formats that are read."""
    if kind == "joined":
        path.write_text("file,labels\n" + "".join(f"{name},{'|'.join(own)}\n" for name, own in labels.items()))
    elif kind == "rows":  # one for each label
        pairs = [(name, label) for name, own in labels.items() for label in own or ("",)]
        path.write_text("labels,file\n" + "".join(f"{label},{name}\n" for name, label in pairs))
    elif kind == "columns":
        rows = [f"{name},{','.join(str(int(one in own)) for one in CLASSES)}\n" for name, own in labels.items()]
        path.write_text(f"file,{','.join(CLASSES)}\n" + "".join(rows))
    elif kind == "lists":
        path = path.with_suffix(".parquet")
        parquet.write_table(pyarrow.table({"file": list(labels), "labels": list(map(list, labels.values()))}), path)
    elif kind == "parquet columns":
        path = path.with_suffix(".parquet")
        columns = {one: [one in own for own in labels.values()] for one in CLASSES}
        parquet.write_table(pyarrow.table({"file": list(labels), **columns}), path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        (tmp_path / split / "sub").mkdir(parents=True)
        for number, name in enumerate(LABELS):
            make_image(20, 30, 40 * number).save(tmp_path / split / name)
    return tmp_path


def module(root: Path, train: str = "train.csv", val: str = "val.csv", **options: Any) -> MultilabelModule:
    files = [{"images": split, "labels": name} for split, name in (("train", train), ("val", val))]
    return MultilabelModule(str(root), files[0], files[1], image_size=16, num_workers=0, **options)


@pytest.mark.parametrize("kind", ["joined", "rows", "columns", "lists", "parquet columns"])
def test_every_format_says_the_same(root: Path, kind: str) -> None:
    names = [make_table(kind, root / f"{split}.csv").name for split in ("train", "val")]
    data = module(root, *names)
    assert data.spec.class_names == CLASSES
    assert (data.spec.multilabel, data.spec.class_counts, data.spec.num_images) == (True, (1, 2, 3), 4)
    shares = [data.dataset("val")[0, row].shares.tolist() for row in range(4)]
    assert shares == [[0, 1, 1], [0, 0, 0], [0, 0, 1], [1, 1, 1]]
    batch = data.collate([data.dataset("val")[0, row] for row in range(4)])
    assert batch.targets.labels.tolist() == shares
    assert data.dataset("val").class_counts().counts == (1, 2, 3)


def test_separators_and_columns_of_ones_own(root: Path) -> None:
    for split in ("train", "val"):
        rows = "".join(f"{' '.join(own)};{name}\n" for name, own in LABELS.items())
        (root / f"{split}.csv").write_text("tags;image_name\n" + rows)
    options = {"separator": ";", "label_separator": " ", "file_column": "image_name", "labels_column": "tags"}
    data = module(root, **options, class_names=["dog", "cat", "bird"])
    assert data.spec.class_counts == (3, 2, 1)
    with pytest.raises(ConfigError, match=r"data\.class_names: a name stands in it twice"):
        module(root, class_names=["a", "a"])
    with pytest.raises(ConfigError, match=r"^data\.num_labels=5 is for one label an image"):
        module(root, num_labels=5)


def test_a_share_held_out(root: Path) -> None:
    make_table("joined", root / "train.csv")
    data = module(root, val="no.csv", val_share=0.5)
    assert len(data.dataset("train")) + len(data.dataset("val")) == 4
    assert data.dataset("train").fingerprint() != data.dataset("val").fingerprint()


def test_what_does_not_fit_together_is_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_table("joined", root / "val.csv")
    labels = {name: own for name, own in LABELS.items() if name != "c.png"} | {"gone.png": ("cat",)}
    table = make_table("joined", root / "train.csv", labels)
    table.write_text(table.read_text() + ",cat\n")
    with caplog.at_level(logging.WARNING):
        assert len(module(root).dataset("train")) == 3
    (said,) = [record.getMessage() for record in caplog.records if "no label" in record.getMessage()]
    assert said == (
        f"{table}: 1 rows without a file were left out; 1 images of the folder have no row and are left out; 1 images "
        "have no label"
    )
    assert any("gone.png" in record.getMessage() and "missing" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,labels\na.png,cat|horse\n", "horse: no such class in the training set, which has bird, cat, dog"),
        ("file,labels\na.png,\n", None),  # nobody has to have a label in a validation set of one
        ("name,labels\na.png,cat\n", r"no column 'file'.* name yours by data\.file_column"),
        ("file,tags\na.png,cat\n", r"no column 'labels', nor several columns of 0 and 1; it has file, tags"),
        (
            "file,cat,dog\na.png,1,0\nb.png,1,-1\n",
            r"column 'dog' of row 2 holds '-1', and a class's column holds 0 or 1",
        ),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_with_a_table_is_refused(root: Path, text: str, said: str | None) -> None:
    make_table("joined", root / "train.csv")
    (root / "val.csv").write_text(text)
    data = module(root)
    if said is None:
        assert len(data.dataset("val")) == 1
        return
    with pytest.raises(DataError, match=said):
        data.dataset("val")


def test_one_class_or_a_wrong_separator_is_refused(root: Path) -> None:
    for text in ("file,labels\na.png,cat\n", "file,labels\na.png,cat;dog\n"):
        (root / "train.csv").write_text(text)
        with pytest.raises(DataError, match=r"two classes at least are needed; is data\.label_separator right"):
            module(root).dataset("train")


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1\x15" + b"\0" * 50)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_labels(tmp_path / "a.parquet", LabelFormat())
