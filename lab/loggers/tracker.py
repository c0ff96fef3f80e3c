"""What the trackers beside W&B share: no failure of theirs stops a training, and no step reaches them twice."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from lab.loggers.metrics_file import FILE_NAME, read_metrics
from lab.loggers.undefined import with_nulls
from lab.text import one_line


class Tracker(Logger):
    """Lightning logger that hands the rows of ``metrics.csv`` to a tracker, on rank zero only.

    A tracker is begun with the step that the training continues from. Rows up to that step that it lacks, after a kill
    or because it was switched on later, come from ``metrics.csv``; values that it has already are not sent again. A
    failure is reported once as a warning, and the training goes on without the tracker. Undefined metrics are left
    out: no tracker has a sign for them.

    Args:
        run_dir: the run directory.

    Attributes:
        label: the tracker's name in messages.
    """

    label: ClassVar[str]

    def __init__(self, run_dir: str | Path) -> None:
        super().__init__()
        self.run_dir = Path(run_dir)
        self._known: dict[str, int] = {}  # the highest step that the tracker has of each metric
        self._is_open = False

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.run_dir.name

    @property
    def version(self) -> str:
        """Empty: a run directory holds one run."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.run_dir)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is given to the constructor."""

    def finalize(self, status: str) -> None:
        """Do nothing: Lightning calls this after each stage, so also before the test of a fit. See ``finish``."""

    @rank_zero_only
    def begin(self, step: int, monitor: str) -> None:
        """Open or continue the tracker's run, and give it the rows of ``metrics.csv`` that it lacks.

        Args:
            step: the optimizer step that the training continues from; ``metrics.csv`` ends there.
            monitor: the metric that decides which checkpoint is the best.
        """
        self._is_open = True
        self._guarded(lambda: self._begin(step, monitor))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Hand on the values of ``step`` that the tracker has not got yet.

        Args:
            metrics: names and numbers.
            step: the optimizer step; the latest one known if None.
        """
        latest = max(self._known.values(), default=0)
        self._guarded(lambda: self._put(metrics, latest if step is None else int(step)))

    @rank_zero_only
    def finish(self, state: str) -> None:
        """End the tracker's run with the state of the run directory: finished, interrupted, failed and so on."""
        self._guarded(lambda: self._close(state))
        self._is_open = False

    def _begin(self, step: int, monitor: str) -> None:
        self._known = self._open(step, monitor)
        path = self.run_dir / FILE_NAME
        for row in read_metrics(path) if path.exists() else []:
            self._put({name: value for name, value in row.items() if value is not None}, int(row["step"] or 0))

    def _put(self, metrics: Mapping[str, float], step: int) -> None:
        defined = {name: value for name, value in with_nulls(metrics).items() if value is not None and name != "step"}
        named = {self._spelled(name): float(value) for name, value in defined.items()}
        fresh = {name: value for name, value in named.items() if step > self._known.get(name, -1)}
        if fresh:
            self._write(fresh, step)
            self._known |= dict.fromkeys(fresh, step)

    def _spelled(self, name: str) -> str:
        """Return the name of a metric as the tracker can have it; different names stay different."""
        return name

    @abstractmethod
    def _open(self, step: int, monitor: str) -> dict[str, int]:
        """Open or continue the run; return the highest step that the tracker has of each metric."""

    @abstractmethod
    def _write(self, values: Mapping[str, float], step: int) -> None:
        """Hand on values of one step."""

    @abstractmethod
    def _close(self, state: str) -> None:
        """End the run with a state of the run directory."""

    def _guarded(self, action: Callable[[], None]) -> None:
        if not self._is_open:
            return
        try:
            action()
        except Exception as error:  # any: of the tracker's own classes, of its network, of the disk
            self._is_open = False
            warnings.warn(
                f"{self.label} logging stops here ({type(error).__name__}: {one_line(error)}); training goes on, and "
                f"{self.run_dir / FILE_NAME} has every value",
                stacklevel=2,
            )
