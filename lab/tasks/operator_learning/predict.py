"""``stage=predict``: rolls out from the states of a file and writes the forecasts, with animations of the first ones.

Each rank appends its forecasts to a file beside the target (``lab.training.parts``); rank 0 puts them into the order of
the input. So memory holds one batch, and the files do not depend on the number of ranks.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import lightning.pytorch as pl
import numpy as np

from lab.errors import DataError
from lab.report.animation import save_picture
from lab.structures.operator_learning import FieldBatch, FieldForecast
from lab.tasks.operator_learning.forecasts import FORMATS, NO_TIME, chosen_format
from lab.tasks.operator_learning.pictures import moving
from lab.tasks.operator_learning.rollout import first_bad_steps
from lab.tasks.operator_learning.task import OperatorLearningTask
from lab.text import printable
from lab.training.parts import Parts, Records, RecordWriter, parts_in
from lab.training.predictor import MakeTrainer, Predictor

_STATES = "forecasts"
"""The file of a rank: its forecasts, float32 one after the other. It has no suffix, since it is not a result."""
MOST_SAID = 10
"""Forecasts that diverge and are named."""


class OperatorLearningPredictor(Predictor):
    """Writes ``forecast.nc``, or ``forecast.npz``: ``rollout.steps`` fields from each state, in the channels' units."""

    task: OperatorLearningTask

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Write the forecasts.

        Raises:
            DataError: the file cannot be read, or has no states.
            ConfigError: NetCDF cannot be written here.
        """
        settings = self.groups["rollout"]
        form = chosen_format(settings["format"])
        self.task.rollout_steps = settings["steps"]
        if hasattr(self.data, "eval_steps"):
            self.data.eval_steps = settings["steps"]  # so many steps of what is known in advance
        dataset = self.data.build_inputs([Path(self.source)])
        if not len(dataset):
            raise DataError(f"input={self.source}: it has no fields")
        with parts_in(folder, rank) as parts:
            with closing(RecordWriter(parts)) as records, (parts.own / _STATES).open("wb") as states:
                part = _Part(self.task, records, states, parts, settings)
                loader = self.data.dataset_dataloader(dataset)
                make_trainer([part]).predict(self.task, dataloaders=loader, return_predictions=False)
            folders = parts.collect()
            if rank == 0:
                self._put_together(folders, parts, form)

    def _put_together(self, folders: list[Path], parts: Parts, form: str) -> None:
        """Write the forecasts of all ranks in the order of the input, and print where they are."""
        records = list(Records(folders))  # small ones
        shape, times = records[0]["shape"], [record["time"] for record in records]
        known = None if NO_TIME in times else times
        with closing(FORMATS[form](parts.merged, self.task.spec, (len(records), *shape), known)) as file:
            opened = {source.name: (source / _STATES).open("rb") for source in folders}
            try:
                for number, record in enumerate(records):
                    file.write(number, _read(opened[record["part"]], record["offset"], shape))
            finally:
                for source in opened.values():
                    source.close()
        for source in folders:
            (source / _STATES).unlink()
        parts.publish([*folders, parts.merged])
        self._say(records, parts.folder / file.path.name)

    def _say(self, records: list[dict[str, Any]], path: Path) -> None:
        bad = [(record["number"], record["bad"]) for record in records if record["bad"]]
        for number, step in bad[:MOST_SAID]:
            print(f"warning: forecast {number} is not finite from step {step} on", file=sys.stderr)
        if len(bad) > MOST_SAID:
            print(f"warning: nor are {len(bad) - MOST_SAID} others", file=sys.stderr)
        steps = records[0]["shape"][0]
        print(
            f"{len(records)} forecasts of {steps} step{'s' if steps > 1 else ''}: {', '.join(self.task.spec.channels)}"
        )
        print(f"written   {printable(path)}")
        if (path.parent / "pictures").is_dir():
            print(f"pictures  {printable(path.parent / 'pictures')}")


class _Part(pl.Callback):
    """Writes the forecasts of a rank, and draws the first ones."""

    def __init__(
        self, task: OperatorLearningTask, records: RecordWriter, states: IO[bytes], parts: Parts, settings: Any
    ) -> None:
        self.task, self.records, self.states, self.parts, self.settings = task, records, states, parts, settings

    def on_predict_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: FieldBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Append the forecasts of a batch."""
        numbers, found = outputs
        times = [NO_TIME] * len(found) if batch.times is None else batch.times[batch.valid].tolist()
        for number, time, forecast in zip(numbers.tolist(), times, found, strict=True):
            self._write(number, time, forecast)

    def _write(self, number: int, time: int, forecast: FieldForecast) -> None:
        fields = forecast.fields.numpy()
        record = {"time": time, "shape": list(fields.shape), "part": self.parts.own.name}
        record |= {"offset": self.states.tell(), "bad": int(first_bad_steps(forecast.fields[None]))}
        self.states.write(np.ascontiguousarray(fields, dtype=np.float32).tobytes())
        self.records.write(number, record)
        if number < self.settings["pictures"]:
            (self.parts.own / "pictures").mkdir(exist_ok=True)
            shown = moving(fields, self.task.spec, self.settings["frames_per_second"])
            picture = shown if len(shown.frames) > 1 else shown.frames[0]
            save_picture(picture, self.parts.own / "pictures" / f"forecast-{number:05d}")


def _read(file: IO[bytes], offset: int, shape: list[int]) -> Any:
    file.seek(offset)
    count = int(np.prod(shape))
    return np.frombuffer(file.read(4 * count), dtype=np.float32, count=count).reshape(shape)
