"""TensorBoard's event files of a run, in the folder ``tensorboard`` of its directory, by Lightning's own logger."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.config.flattening import flat
from lab.loggers.tracker import Tracker

FOLDER = "tensorboard"
_FLUSH_SECONDS = 10


class TensorBoardRun(Tracker):
    """Writes scalars, and the config as hyperparameters; ``tensorboard --logdir RUNS_DIR`` shows all runs.

    Each process of a run leaves one file of events. The first event of a continued run says from which step on earlier
    ones no longer count, so TensorBoard shows no step twice.

    Args:
        run_dir: the run directory.
        config: the resolved config, shown as hyperparameters.
    """

    label = "TensorBoard"

    def __init__(self, run_dir: str | Path, config: Mapping[str, Any]) -> None:
        super().__init__(run_dir)
        self._config = dict(config)
        self._logger: Any = None
        self._ended: Any = None

    def _open(self, step: int, monitor: str) -> dict[str, int]:
        from lightning.fabric.loggers import TensorBoardLogger
        from torch.utils.tensorboard.summary import hparams

        known = {name: min(last, step) for name, last in recorded_steps(self.run_dir / FOLDER).items()}
        self._logger = TensorBoardLogger(
            self.run_dir, name="", version=FOLDER, purge_step=step + 1 if step else 0, flush_secs=_FLUSH_SECONDS
        )
        shown = dict.fromkeys((monitor, f"test/{monitor.partition('/')[2]}"), 0.0)  # their names; no values
        began, started, self._ended = hparams(_plain(self._config), shown)
        for summary in (began, started):
            self._logger.experiment.file_writer.add_summary(summary)
        return known if step else {}

    def _write(self, values: Mapping[str, float], step: int) -> None:
        self._logger.log_metrics(values, step)

    def _close(self, state: str) -> None:
        if state == "finished":  # TensorBoard's sign for a success; a run without it counts as unfinished
            self._logger.experiment.file_writer.add_summary(self._ended)
        self._logger.finalize(state)


def recorded_steps(folder: Path) -> dict[str, int]:
    """Return the last step of each scalar in TensorBoard's event files; a file that a kill cut off is read to there."""
    if not folder.is_dir():
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 1})
    log = logging.getLogger("tensorboard")
    before = log.level
    log.setLevel(logging.ERROR)  # it warns of each continuation and of ends that a kill cut off
    try:
        events.Reload()
    finally:
        log.setLevel(before)
    return {name: events.Scalars(name)[-1].step for name in events.Tags()["scalars"]}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers and texts by dotted key; TensorBoard knows no lists, and shows true as 1."""
    values = {key: value for key, value in flat(config) if value is not None}
    return {
        key: value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)
        for key, value in values.items()
    }
