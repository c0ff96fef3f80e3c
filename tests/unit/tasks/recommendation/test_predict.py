"""Lists from a checkpoint: by the user's own ids, in Python and as files, in the order of the input."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import numpy as np
import pyarrow.parquet
import pytest
import torch

import lab
from lab.callbacks.run_state import RunState
from lab.data.datamodule import DataModule
from lab.errors import CheckpointError, ConfigError, DataError
from lab.structures import RecommendationSpec, SequenceBatch
from lab.tasks.recommendation.histories import history_batch, known_items
from lab.tasks.recommendation.predict import RecommendationPredictor, _merge, _Part, _schema
from tests.unit.tasks.recommendation.recommenders import NUM_ITEMS, Sums, make_task

HISTORIES = [[1, 2, 3], [12], [5, 5, 1, 9], [2, 7], [11, 10, 9, 8, 7]]
NAMES = [f"s{number}" for number in range(len(HISTORIES))]


class Sessions(DataModule):
    """Plays a data module whose inputs are ``HISTORIES``."""

    task = "recommendation"
    left_out: ClassVar[dict[str, int]] = {"unknown events": 3, "sessions of unknown items": 0}
    sequence_names = NAMES
    histories = HISTORIES

    @property
    def spec(self) -> RecommendationSpec:
        """No network is made."""
        raise NotImplementedError

    def build(self, split: str) -> Any:
        """Nothing is trained."""
        raise NotImplementedError

    def build_inputs(self, paths: list[Path]) -> Any:
        """Return itself: its samples are numbers."""
        return self

    def __len__(self) -> int:
        return len(self.histories)

    def __getitem__(self, key: tuple[int, int]) -> int:
        return key[1]

    def collate(self, samples: Sequence[int]) -> SequenceBatch:
        """Return a batch of the histories."""
        batch = history_batch([self.histories[index] for index in samples])
        batch.sequence_ids = torch.tensor(samples)
        return batch


def make_trainer(callbacks: list[pl.Callback]) -> pl.Trainer:
    """Return a plain Trainer."""
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator="cpu", devices=1, callbacks=callbacks, inference_mode=False, **quiet)


def by_hand(history: list[int], k: int, left_out: Sequence[int] = ()) -> list[tuple[str, float]]:
    """Return the best items by a sort in Python."""
    net = Sums(NUM_ITEMS)
    values = (net.table[history].sum(0) + net.last[history[-1]]).tolist()
    items = [item for item in range(1, NUM_ITEMS + 1) if item not in left_out]
    return [(f"i{item}", values[item]) for item in sorted(items, key=lambda item: (-values[item], item))[:k]]


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_files(tmp_path: Path, exclude_seen: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Batches of two; what could not be used is counted."""
    task = make_task(exclude_seen=exclude_seen)
    RecommendationPredictor("sessions.csv", task, Sessions(2)).run(make_trainer, tmp_path, 0)
    expected = [
        (name, rank, item, score)
        for name, history in zip(NAMES, HISTORIES, strict=True)
        for rank, (item, score) in enumerate(by_hand(history, 4, history if exclude_seen else ()), start=1)
    ]
    table = pyarrow.parquet.read_table(tmp_path / "recommendations.parquet")
    assert list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == expected
    with (tmp_path / "recommendations.csv").open(newline="") as file:
        rows = [(r["session"], int(r["rank"]), r["item"], float(r["score"])) for r in csv.DictReader(file)]
    assert rows == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recommendations.csv", "recommendations.parquet"]
    assert "5 sequences, 20 recommendations; left out: 3 unknown events\n" in capsys.readouterr().out


def test_nothing_known(tmp_path: Path) -> None:
    """A file of unknown items is refused with what was counted."""
    data = Sessions(2)
    data.histories = []
    with pytest.raises(DataError, match=r"input=sessions.csv: no sequence has an item .* \(3 unknown events\)"):
        RecommendationPredictor("sessions.csv", make_task(), data).run(make_trainer, tmp_path, 0)


def test_an_interrupted_prediction_leaves_nothing(tmp_path: Path) -> None:
    """An earlier result stays as it was."""
    folder = tmp_path / "out"
    RecommendationPredictor("sessions.csv", make_task(), Sessions(2)).run(make_trainer, folder, 0)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    class Stops(Sessions):
        def __getitem__(self, key: tuple[int, int]) -> int:
            if key[1] == 3:
                raise KeyError("the end")
            return super().__getitem__(key)

    for where in (folder, tmp_path / "other" / "out"):
        with pytest.raises(KeyError, match="the end"):
            RecommendationPredictor("sessions.csv", make_task(), Stops(2)).run(make_trainer, where, 0)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_parts_of_ranks_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Two ranks with batches of one: rank 0 has sequences 0, 2 and 4, rank 1 has 1, 3 and one that fills up."""
    paths = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for rank, path in enumerate(paths):
        writer, unused = pyarrow.parquet.ParquetWriter(path, _schema()), (None, None)
        part = _Part(writer, NAMES, ["i1", "i2"])
        for number in range(rank, 5, 2):
            lists = torch.tensor([number]), torch.tensor([[2, 1]]), torch.tensor([[0.5, 0.25]])
            part.on_predict_batch_end(*unused, lists, None, 0)
        nothing = torch.zeros(0, dtype=torch.int64), torch.zeros((0, 2), dtype=torch.int64), torch.zeros((0, 2))
        part.on_predict_batch_end(*unused, nothing, None, 0)
        writer.close()
    assert _merge(paths, tmp_path) == 10
    table = pyarrow.parquet.read_table(tmp_path / "recommendations.parquet")
    assert table["session"].to_pylist() == [name for name in NAMES for _ in range(2)]
    assert table["item"].to_pylist() == ["i2", "i1"] * 5


def test_from_a_checkpoint(tmp_path: Path) -> None:
    """The checkpoint stands alone: ids go in, ids come out, one by one or many."""
    task, trainer = make_task(), make_trainer([])
    trainer.strategy.connect(task)
    RunState(None).write_weights(tmp_path / "best.ckpt", trainer, task)
    loaded = lab.load(tmp_path / "best.ckpt")
    expected = [by_hand(history, 3, history) for history in HISTORIES]
    names = [[f"i{item}" for item in history] for history in HISTORIES]
    assert loaded.predict(names, batch_size=2, k=3, exclude_seen=True) == expected
    assert loaded.predict(names[2], k=3, exclude_seen=True) == expected[2]
    assert loaded.predict(["new", *names[2]], k=99) == by_hand(HISTORIES[2], 99)
    assert loaded.predict([f" {name} " for name in names[2]], k=99) == by_hand(HISTORIES[2], 99)
    assert loaded.predict(names[0])[0].item == by_hand(HISTORIES[0], 1)[0][0]
    with pytest.raises(CheckpointError):
        lab.load(tmp_path / "other.ckpt")


def test_unknown_histories() -> None:
    """One alone is refused with the closest id; among many it gets an empty list."""
    task = make_task()
    with pytest.raises(DataError, match=r"knew none of these items; did you mean 'i12'"):
        task.predict(["i112"])
    with pytest.raises(DataError, match="knew none"):
        task.predict([])
    with pytest.raises(DataError, match=r"should be a list of ids, \['i1'\]"):
        task.predict("i1")
    assert task.predict([["x"], ["i1"], []], k=2) == [[], by_hand([1], 2), []]


def test_whole_numbers_are_the_same_ids_as_floats() -> None:
    """A column of pandas in which one number is missing holds floats."""
    assert known_items([7.0, 8, "8.5", 8.5, 9.0], {"7": 1, "8": 2, "8.5": 3}) == [1, 2, 3, 3]  # type: ignore[list-item]


def test_the_task_predicts_for_one_history_or_several() -> None:
    task = make_task()
    task.train()
    assert task.predict(["i1"], k=2) == by_hand([1], 2)
    with pytest.raises(ConfigError, match="k=0"):
        task.predict(["i1"], k=0)
    assert task.predict(np.array([["i1"], ["i1"]]), k=2, batch_size=1) == [by_hand([1], 2)] * 2
    assert len(task.predict(["i1"])) == task.eval_settings["top_k"]
    assert task.training
    with pytest.raises(DataError, match="some entries are ids, some lists of ids"):
        task.predict(["i1", ["i2"]])
