"""``stage=predict``: answers the questions of a file and writes the answers as run_squad.py does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any

import lightning.pytorch as pl

from lab.tasks.question_answering.metrics import Joined, joined
from lab.tasks.question_answering.spans import by_question
from lab.tasks.question_answering.task import AnsweringTask
from lab.training.parts import Records, RecordWriter, parts_in
from lab.training.predictor import MakeTrainer, Predictor
from lab.training.text_features import write_features


class AnsweringPredictor(Predictor):
    """Writes ``predictions.json``, ``nbest_predictions.json`` and, if questions may have no answer, ``null_odds.json``.

    The input is a file of SQuAD's layout, or ``.jsonl`` with ``question`` and ``context`` in each line.
    """

    task: AnsweringTask

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Answer the questions window by window; rank 0 joins the windows and prints where the answers are."""
        if layers := self.task.eval_settings.get("features"):
            write_features(self, layers, "text", make_trainer, folder, rank)
            return
        windows: Any = self.data.build_inputs([Path(self.source)])
        with parts_in(folder, rank) as parts:
            with closing(RecordWriter(parts)) as records:
                loader = self.data.dataset_dataloader(windows)
                make_trainer([_Writing(records)]).predict(self.task, dataloaders=loader, return_predictions=False)
            folders = parts.collect()
            if rank == 0:
                questions, unanswered = self._write(Records(folders), parts.merged)
                names = sorted(path.name for path in parts.merged.iterdir())
                parts.publish([parts.merged])
                none = f", {unanswered} of them without an answer" if unanswered else ""
                print(f"{questions} questions in {len(windows)} windows{none}")
                print(f"written   {', '.join(str(folder / name) for name in names)}")

    def _write(self, records: Iterable[Mapping[str, Any]], folder: Path) -> tuple[int, int]:
        """Write the answers, one question after the other, and return how many there are, and how many are empty."""
        questions = unanswered = 0
        with ExitStack() as stack:
            opened = [stack.enter_context((folder / name).open("w", encoding="utf-8")) for name in self.names]
            files = [JsonObject(file) for file in opened]
            for found in self._joined(records):
                for file, value in zip(files, (found.text, found.best, found.null_odds), strict=False):
                    file.write(found.id, value)
                questions += 1
                unanswered += not found.text
            for file in files:
                file.end()
        return questions, unanswered

    @property
    def names(self) -> list[str]:
        """The files that are written."""
        names = ["predictions.json", "nbest_predictions.json"]
        return [*names, "null_odds.json"] if self.task.choice.abstain else names

    def _joined(self, records: Iterable[Mapping[str, Any]]) -> Iterator[Joined]:
        for group in by_question(records):
            yield joined(group, self.task.choice)


class JsonObject:
    """Writes an object of json entry by entry, laid out as ``json.dumps(..., indent=4)`` does.

    Args:
        file: it is not closed.
    """

    def __init__(self, file: IO[str]) -> None:
        self.file, self.empty = file, True

    def write(self, name: str, value: Any) -> None:
        """Write an entry."""
        shown = json.dumps(value, indent=4).replace("\n", "\n    ")
        self.file.write(f"{'{' if self.empty else ','}\n    {json.dumps(name)}: {shown}")
        self.empty = False

    def end(self) -> None:
        """Write the end of the object."""
        self.file.write("{}\n" if self.empty else "\n}\n")


class _Writing(pl.Callback):
    """Writes the records of each batch."""

    def __init__(self, records: RecordWriter) -> None:
        self.records = records

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Append the windows of a batch; those that only pad it are left out already."""
        for record in outputs:
            self.records.write(record["window"], record)
