"""The DataModule of labelled texts: splits, classes, tokens; a checkpoint's tokenizer; mistakes."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lab.data.datamodule import LoadPlan
from lab.errors import ConfigError, DataError
from lab.tasks.text_classification.data.texts import TextsModule
from tests.unit.data_fixtures import data_dir
from tests.unit.tasks.text_classification.makers import TOKENIZER

__all__ = ["data_dir"]


def write(path: Path, rows: list[tuple[str, str]]) -> str:
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    return path.name


def module(folder: Path, **arguments: Any) -> TextsModule:
    """Return a module of files in a folder with a tokenizer of characters."""
    (folder / "tokenizer.json").write_text(TOKENIZER.to_text())
    given = {"tokenizer": str(folder / "tokenizer.json"), "root": str(folder), "batch_size": 2, **arguments}
    return TextsModule(**given)


ROWS = [(text * (1 + number % 4), str(number % 2 + 9)) for number, text in enumerate("abcdefgh" * 5)]


def test_a_share_is_held_out_balanced_by_class(tmp_path: Path) -> None:
    data = module(tmp_path, files=write(tmp_path / "a.tsv", ROWS), val_share=0.2)
    train, val, test = (data.dataset(split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (32, 8, 8)
    assert Counter(val.labels) == {0: 4, 1: 4}
    assert val.fingerprint() == test.fingerprint()
    assert train.class_counts().counts == (16, 16)
    assert data.names == ("9", "10")  # as numbers, not as words
    assert data.rows_read()[str(tmp_path / "a.tsv")] == {"rows": 40, "used": 40, "left_out": {}}
    other = module(tmp_path, files="a.tsv", val_share=0.2, seed=1)
    assert other.fingerprint() != data.fingerprint()
    spec = data.spec
    assert (spec.class_counts, spec.num_classes, spec.vocab_size, spec.pairs) == ((16, 16), 2, 13, False)


def test_own_files_names_and_several_of_them(tmp_path: Path) -> None:
    names = [
        write(tmp_path / f"{part}.tsv", ROWS[place : place + 10]) for part, place in (("a", 0), ("b", 10), ("c", 20))
    ]
    data = module(tmp_path, files=names[:2], val_files=names[2], class_names=["no", "yes"])
    assert len(data.dataset("train")) == 20
    assert data.dataset("test").fingerprint() == data.dataset("val").fingerprint()
    assert data.spec.class_names == ("no", "yes")
    batch = data.first_batch()
    assert batch.num_samples == 2


def test_generated_texts_need_no_files(data_dir: Path) -> None:
    data = TextsModule(num_train=60, num_val=10, num_test=20, vocab_size=200, batch_size=4)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [60, 10, 20]
    assert data.spec.class_names == ("negative", "positive")
    assert data.spec.vocab_size <= 200
    again = TextsModule(num_train=60, num_val=10, num_test=20, vocab_size=200, batch_size=4)
    assert data.fingerprint() == again.fingerprint()
    assert data.spec == again.spec
    assert TextsModule(num_train=60, seed=1).rows("train").texts != data.rows("train").texts  # type: ignore[union-attr]
    topics = TextsModule(num_train=60, num_classes=4, vocab_size=200)
    assert topics.names == ("0", "1", "2", "3")


def test_a_checkpoints_tokenizer_and_classes_are_followed(tmp_path: Path) -> None:
    first = module(tmp_path, files=write(tmp_path / "a.tsv", ROWS), class_names=["no", "yes"], window_stride=5)
    first.max_length = 9
    other = TextsModule(root=str(tmp_path), files=write(tmp_path / "b.tsv", [*ROWS[:9], ("a", "no")]), val_share=0.5)
    other.follow(first.spec)
    inputs = other.build_inputs([tmp_path / "b.tsv"])
    assert inputs[0, 0].windows == first.build_inputs([tmp_path / "b.tsv"])[0, 0].windows
    with pytest.raises(DataError, match=r"the training set has the label '10', and the training knows no, yes$"):
        other.dataset("train")
    assert first.spec == first.spec


def test_batches_of_longer_and_of_shorter_texts(tmp_path: Path) -> None:
    """Of lengths 1 to 4 a batch has texts of median length or longer, or shorter ones; one at most has both."""
    data = module(tmp_path, files=write(tmp_path / "a.tsv", ROWS), group_by_length=True, batch_size=4)
    data.plan = LoadPlan(max_steps=data.steps_per_epoch())
    mixed = [batch for batch in data.train_dataloader() if max(batch.lengths) >= 5 > min(batch.lengths)]
    assert len(mixed) <= 1
    assert data.dataset("val").aspect_ratios is None


@pytest.mark.parametrize(
    ("arguments", "rows", "message"),
    [
        ({}, [("a", "x")] * 5, "all 5 texts have the label 'x'; there is nothing to tell"),
        (
            {},
            [(f"a{row}", f"x{row}") for row in range(30)],
            "30 different labels in 30 texts (x0, x1, x10, ...)",
        ),
        (
            {"class_names": ["a"]},
            ROWS,
            "data.class_names=['a']: give 2 different names, for the labels 9, 10",
        ),
        ({"files": "c.tsv"}, ROWS, "c.tsv"),
    ],
)
def test_bad_texts_give_one_line(
    tmp_path: Path, arguments: dict[str, Any], rows: list[tuple[str, str]], message: str
) -> None:
    write(tmp_path / "a.tsv", rows)
    data = module(tmp_path, **{"files": "a.tsv", **arguments})
    with pytest.raises((DataError, ConfigError), match=re.escape(message)) as caught:
        _ = data.spec
    assert "\n" not in str(caught.value)


def test_classes_that_differ_between_splits(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", ROWS)
    data = module(tmp_path, files="a.tsv", test_files=write(tmp_path / "b.tsv", [("a", "9"), ("a", "11")]))
    with pytest.raises(DataError, match=r"b\.tsv: text 2 of the test set has the label '11', and the trai"):
        data.dataset("test")
    with pytest.raises(ConfigError, match=r"^data\.val_files, data\.test_files: name the texts to train on too"):
        TextsModule(test_files="b.tsv")
