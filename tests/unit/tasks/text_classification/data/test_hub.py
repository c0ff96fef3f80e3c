"""Labelled texts of a local folder that ``datasets`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from lab.errors import DataError
from lab.tasks.text_classification.data.hub import TextsHubModule
from tests.unit.data_fixtures import data_dir

__all__ = ["data_dir"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits with classes whose order is not that of their names; one test text has no label."""
    features = datasets.Features(
        {
            "sentence": datasets.Value("string"),
            "other": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["yes", "no"]),
            "size": datasets.Value("int32"),
        }
    )
    rows = {"sentence": [f"text {row}" for row in range(20)], "other": ["x"] * 20, "size": [1] * 20}
    train = datasets.Dataset.from_dict({**rows, "label": [row % 2 for row in range(20)]}, features)
    test = datasets.Dataset.from_dict({**rows, "label": [-1, *[1] * 19]}, features)
    path = tmp_path_factory.mktemp("hub") / "texts"
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(str(path))
    return path


def make(path: Path, **arguments: Any) -> TextsHubModule:
    return TextsHubModule(str(path), vocab_size=60, **arguments)


def test_columns_and_classes_are_found(folder: Path, data_dir: Path) -> None:
    data = make(folder)
    assert data.names == ("yes", "no")
    assert len(data.dataset("train")) == 18
    assert data.dataset("test").labels == [1] * 19
    assert data.rows_read()[f"{folder}/test"] == {"rows": 20, "used": 19, "left_out": {"without a label": 1}}
    assert make(folder, second_column="other").spec.pairs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"train": "trian"},
            r"it has no split 'trian', only train, test; did you mean 'train'\?",
        ),
        (
            {"text_column": "texts"},
            r"it has no column 'texts'; name one by data\.text_column: sentence \(string\)",
        ),
        ({"text_column": "size"}, r"its column 'size' holds int32, no texts; name another by data\.text_column"),
    ],
)
def test_mistakes_give_one_line(folder: Path, data_dir: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(folder, **arguments).dataset("train")
