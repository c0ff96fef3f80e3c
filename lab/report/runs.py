"""Runs as Python reads them: config, result, metrics, checkpoints, pictures. No torch.

Unfinished and damaged runs are read too; ``problems`` names what is missing or cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lab.config.frozen import FrozenConfig
from lab.config.recorded import UnreadableConfig, read_recorded
from lab.errors import RunError, closest
from lab.loggers.metrics_file import FILE_NAME, LEADING, read_table
from lab.report.evaluations import Evaluation, as_lines, as_numbers, pictures_in, tables_in
from lab.run_directory import RunDirectory
from lab.system.files import is_checkpoint
from lab.text import printable

if TYPE_CHECKING:
    import pandas as pd

_OF_A_RUN = ("run.json", "config.yaml", FILE_NAME, "checkpoints")
"""The files that mark a folder as a run's directory; one of them is enough."""


class Run:
    """A run's directory at the time of reading; ``read_run`` returns it.

    Args:
        path: the directory.

    Attributes:
        path: the directory.
        state: ``finished``, ``running``, ``interrupted``, ``diverged``, ``pruned`` or ``failed``.
        record: the readable content of ``run.json``: command, commit, versions, machine, seed, ...

    Raises:
        RunError: the folder is not a run's directory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not any((self.path / name).exists() for name in _OF_A_RUN):
            raise RunError(_no_run(self.path))
        directory = RunDirectory(self.path)
        self.state = directory.state
        self.record: dict[str, Any] = directory.record
        self._damage = directory.damage

    @property
    def name(self) -> str:
        """``<model>-<data>-<hash>``."""
        return self.path.name or self.path.resolve().name  # also of "."

    @property
    def words(self) -> tuple[str, ...]:
        """The words of its command line: ``lab.compose(*run.words)`` composes its config again."""
        return tuple(self.record.get("overrides", ()))

    @property
    def result(self) -> dict[str, float]:
        """``val/...`` and ``test/...`` of best.ckpt; NaN for a metric that is not defined; empty before the end."""
        return as_numbers(self.record.get("result", {}))

    @property
    def steps(self) -> int:
        """The last optimizer step in its metrics; 0 if there is none."""
        return int(max((row["step"] or 0 for row in self._metrics[1]), default=0))

    @property
    def config(self) -> FrozenConfig:
        """The resolved config; empty where ``config.yaml`` cannot be read."""
        return self._config[0]

    @property
    def metrics(self) -> pd.DataFrame:
        """``metrics.csv``: a row for each logged step, columns ``step``, ``epoch``, ``train/...``, ``val/...``.

        NaN where nothing was logged; no rows if the file is missing or damaged.
        """
        import pandas as pd

        columns, rows, _ = self._metrics
        frame = pd.DataFrame.from_records(rows, columns=columns)
        return frame.astype({name: "float64" for name in columns if name not in LEADING})

    @property
    def checkpoints(self) -> dict[str, Path]:
        """The existing checkpoints: ``best``, ``last``, ``previous``."""
        folder = self.path / "checkpoints"
        found = sorted(path for path in folder.glob("*.ckpt") if is_checkpoint(path))
        return {path.stem: path for path in found if not path.name.startswith(".")}

    @property
    def best(self) -> Path:
        """``best.ckpt``.

        Raises:
            RunError: there is none yet.
        """
        path = self.checkpoints.get("best")
        if path is None:
            raise RunError(f"{self.path} ({self.state}) has no best.ckpt: the first validation writes it")
        return path

    @property
    def pictures(self) -> list[Path]:
        """The pictures of the test at the end."""
        return pictures_in(self.path)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables of the test at the end, by name."""
        return tables_in(self.path)

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """The results of later evaluations of this run, by folder: ``test-best`` for instance."""
        return self._evaluations[0]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is missing or cannot be read, one line each; empty for a complete run.

        Files that are written at the end of a run count as missing only if the run has ended.
        """
        found = [f"run.json is {self._damage}"] if self._damage else []
        found += [] if self._damage or self.record else ["run.json is missing"]
        found += [problem for problem in (self._config[1], self._metrics_problem, *self._evaluations[1]) if problem]
        if self.state == "finished" and "best" not in self.checkpoints:
            found.append("checkpoints/best.ckpt is missing")
        return tuple(found)

    @cached_property
    def _config(self) -> tuple[FrozenConfig, str]:
        try:
            return FrozenConfig(read_recorded(self.path / "config.yaml")), ""
        except UnreadableConfig as error:
            return FrozenConfig({}), f"config.yaml {error}"

    @cached_property
    def _metrics(self) -> tuple[list[str], list[dict[str, float | int | None]], str]:
        try:
            columns, rows, _ = read_table(self.path / FILE_NAME)
        except (RunError, OSError) as error:
            return list(LEADING), [], str(error)
        return columns, rows, ""

    @cached_property
    def _evaluations(self) -> tuple[dict[str, Evaluation], list[str]]:
        found: dict[str, Evaluation] = {}
        problems: list[str] = []
        for file in sorted(self.path.glob("*/result.json")):
            try:
                found[file.parent.name] = Evaluation(file.parent)
            except RunError as error:
                problems.append(str(error))
        return found, problems

    @property
    def _metrics_problem(self) -> str:
        if (self.path / FILE_NAME).exists():
            return self._metrics[2]
        return "" if self.state in ("running", "interrupted", "failed") else f"{FILE_NAME} is missing"

    def __repr__(self) -> str:
        lines = [f"Run {printable(self.path)} ({self.state}, {self.steps} steps)", *as_lines(self.result)]
        return "\n".join([*lines, *(f"  problem: {printable(problem)}" for problem in self.problems)])


class Runs(Sequence[Run]):
    """The runs of a folder, oldest first; ``frame()`` is a table of them."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = list(runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        """Return a run, or some."""
        return Runs(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def frame(self) -> pd.DataFrame:
        """Return a row for each run: name, state, model, data, seed, steps, when it started, and its result."""
        import pandas as pd

        return pd.DataFrame.from_records([_row(run) for run in self])

    def __repr__(self) -> str:
        return "\n".join(f"{printable(run.name)}  {run.state}" for run in self) or "no runs"


def read_run(path: str | Path) -> Run:
    """Read a run's directory, in any state.

    Args:
        path: the directory, ``runs/detr_tiny-shapes-1a2b3c4d`` for instance.

    Raises:
        RunError: there is no run.
    """
    return Run(path)


def list_runs(folder: str | Path = "runs") -> Runs:
    """Return all runs of a folder, oldest first, including those that ``resume=never`` has renamed (``NAME~1``).

    Args:
        folder: ``paths.runs_dir``.

    Raises:
        RunError: the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; paths.runs_dir says where runs go")
    found = [Run(path) for path in sorted(folder.iterdir()) if _is_run(path)]
    return Runs(sorted(found, key=lambda run: str(run.record.get("started") or "")))


def _is_run(path: Path) -> bool:
    return not path.name.startswith(".") and ((path / "run.json").exists() or (path / "config.yaml").exists())


def _no_run(path: Path) -> str:
    if not path.is_dir():
        near = [item.name for item in path.parent.iterdir() if _is_run(item)] if path.parent.is_dir() else []
        return f"{path}: no such folder{closest(path.name, near)}"
    count = sum(_is_run(item) for item in path.iterdir() if item.is_dir())
    hint = f"; lab.runs({str(path)!r}) reads its {count} runs" if count else ""
    return f"{path} is not a run: none of {', '.join(_OF_A_RUN)} is there{hint}"


def _row(run: Run) -> dict[str, Any]:
    config = run.config
    return {
        "run": run.name,
        "state": run.state,
        "model": config.get("model.name"),
        "data": config.get("data.name"),
        "seed": config.get("seed"),
        "steps": run.steps,
        "started": run.record.get("started"),
        **{key: value for key, value in run.result.items() if "per_class" not in key},
    }
