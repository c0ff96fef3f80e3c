"""One Weights & Biases run per run directory: online if an API key is configured, otherwise offline.

``metrics.csv`` is the record that counts; W&B gets the same rows. A complete row is sent when the next step begins, and
only if its step is above the highest one sent before, by this process or an earlier one: ``wandb.json`` in the run
directory keeps the run's id and that step. Rows lost in a kill are sent again from metrics.csv. A failure of W&B is
reported once, and training goes on. If the server does not answer within some seconds, the run is recorded offline; it
goes online, with all of its rows, at the first step after the server has answered.

No name is resolved and nothing is sent unless the mode is online: see ``lab.loggers.wandb_server``.
"""

from __future__ import annotations

import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args
from typing import Literal as Choice

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from lab.checking import check_choice
from lab.compat.wandb import known_settings, system_settings
from lab.loggers.metrics_file import FILE_NAME, read_metrics
from lab.loggers.undefined import with_nulls
from lab.loggers.wandb_close import close_left
from lab.loggers.wandb_offline import choose_mode, last_step
from lab.loggers.wandb_server import FIRST_WAIT, ServerWatch, allow, silence
from lab.loggers.wandb_state import WandbState, short_path, staged_in
from lab.loggers.wandb_trouble import check_room, forget_service, quiet_log
from lab.text import one_line

_SERVICE_ENDS = 2.0
"""Seconds that W&B's service may take to end after its process was killed; it takes 0.1."""
_PREEMPTED = 128 + signal.SIGTERM
Mode = Choice["auto", "online", "offline", "disabled"]


class WandbRun(Logger):
    """Lightning logger over the wandb SDK, on rank zero only; W&B starts with the first value, or with ``start``.

    Args:
        run_dir: the run directory; W&B's own files go into its folder ``wandb``.
        project: the W&B project.
        name: the name shown; that of an earlier process of the run by default, else the run directory's.
        config: what W&B shows as the run's configuration, plain values only.
        tags: labels to filter by.
        group: runs of one sweep, say; that of an earlier process of the run by default.
        job_type: the stage, say.
        notes: a description; only a run that begins gets it.
        mode: ``auto`` follows WANDB_MODE or ``wandb offline``; otherwise online if a key is configured, else offline.
        git_commit: the commit that the run was started from.
        system_interval: seconds between W&B's samples of CPU, memory, disk and GPU; None: no samples.

    Attributes:
        scratch: a folder for files until W&B has copied them.

    Raises:
        ConfigError: if the mode is unknown.
    """

    def __init__(
        self,
        run_dir: str | Path,
        project: str = "lab",
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        job_type: str | None = None,
        notes: str | None = None,
        mode: Mode = "auto",
        git_commit: str | None = None,
        system_interval: float | None = None,
    ) -> None:
        super().__init__()
        check_choice("logger.wandb.mode", mode, get_args(Mode))
        self.run_dir = Path(run_dir)
        self._arguments: dict[str, Any] = {
            "project": project,
            "name": name,
            "config": dict(config or {}),
            "tags": list(tags),
            "group": group,
            "job_type": job_type,
            "notes": notes,
        }
        self._mode: Mode = mode
        self._settings = {"git_commit": git_commit, **system_settings(system_interval)}
        self._run: Any = None
        self._stopped = mode == "disabled"
        self._state = WandbState(self.run_dir)
        self._caught_up = False
        self._pending: dict[str, Any] = {}  # the row of the current step
        self._watch: ServerWatch | None = None  # while the run waits for its server
        self._unsent: dict[int, dict[str, Any]] = {}  # its rows since then, by step
        self.scratch = self.run_dir / "wandb" / "scratch"

    @property
    def name(self) -> str:
        """The name that W&B shows."""
        return str(self._arguments["name"] or self._state.given.get("name") or self.run_dir.name)

    @property
    def version(self) -> str:
        """The W&B run's id; empty before the start."""
        return self._state.id

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.run_dir)

    @property
    def experiment(self) -> Any:
        """The run object of the wandb SDK; None before the start and if W&B is off."""
        return self._run

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is given to the constructor."""

    @rank_zero_only
    def configure(self, config: Mapping[str, Any]) -> None:
        """Replace what W&B shows as the run's configuration, key by key.

        Args:
            config: plain values only.
        """
        self._arguments["config"].update(config)
        if self._run is not None:
            self._guarded(lambda: self._run.config.update(dict(config), allow_val_change=True))

    @rank_zero_only
    def start(self) -> None:
        """Start the W&B run, or continue that of the run directory; do nothing if it is running."""
        if self._run is None:
            self._guarded(self._start)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of ``step``. If that was sent already, val and test values still go into the summary.

        Args:
            metrics: names and numbers.
            step: the optimizer step; the latest one known if None.
        """
        self._log(with_nulls({key: value for key, value in metrics.items() if key != "step"}), step)

    @rank_zero_only
    def add(self, make: Callable[[], Mapping[str, Any]], step: int) -> None:
        """Add media to the row of ``step``. If that was sent already, they are only in the run directory.

        Args:
            make: returns W&B's objects by name; called only while W&B runs, and trouble in it is trouble with W&B.
            step: the optimizer step.
        """
        self.start()
        if self._run is not None:
            self._guarded(lambda: self._log(dict(make()), step))

    @rank_zero_only
    def preempted(self) -> None:
        """Tell W&B that the run is about to end and will go on: SIGTERM came. W&B itself then calls it preempted."""
        if self._run is not None:
            self._guarded(self._run.mark_preempting)

    @rank_zero_only
    def finish(self, exit_code: int = 0, state: str = "") -> None:
        """Send the last row and end the W&B run.

        Args:
            exit_code: the command's exit code; any but 0 marks the run as failed, and that of SIGTERM as preempted.
            state: the state of the run directory, for the summary: W&B itself knows none for a pruned run.
        """
        if self._run is None:
            return
        self._guarded(self._hand_over)
        if self._watch is not None:
            self._guarded(self._go_online)
            if self._watch is not None:
                self._watch.stop()
        if self._run is None:
            return
        if exit_code == _PREEMPTED:
            self.preempted()
            state = "preempted"
        if state:
            self._guarded(lambda: self._run.summary.update({"state": state}))
        run, self._run = self._run, None
        shutil.rmtree(self.scratch, ignore_errors=True)
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:  # any, see _guarded; a run that stopped earlier has said why
            if not self._stopped:
                self._stop(error)
            if isinstance(error, OSError | EOFError):  # the connection to its service
                forget_service()

    def finalize(self, status: str) -> None:
        """Do nothing: Lightning calls this after each stage, so also before the test of a fit. See ``finish``."""

    def _log(self, values: dict[str, Any], step: int | None) -> None:
        self.start()
        if self._run is None or not values:
            return
        if self._watch is not None and self._watch.answered:
            self._guarded(self._go_online)
        latest = self._pending.get("step", self._state.highest)
        step = max(latest, 0) if step is None else int(step)
        if step <= self._state.highest or step < latest:
            late = {key: value for key, value in values.items() if key.startswith(("val/", "test/"))}
            late = {key: value for key, value in late.items() if isinstance(value, int | float)}
            if late:
                self._guarded(lambda: self._run.summary.update(late))
            return
        if step > latest:
            self._guarded(self._hand_over)
        if not self._pending:
            self._guarded(lambda: self._catch_up(step))
        self._pending = {**self._pending, **values, "step": step}

    def _hand_over(self) -> None:
        row, self._pending = self._pending, {}
        if not row:
            return
        step = row.pop("step")
        check_room(self.run_dir / "wandb")
        self._state.highest = step
        self._state.write()  # written first: a kill in between loses this row; the other order would send it twice
        with staged_in(self.run_dir / "wandb"):
            self._run.log(row, step=step, commit=True)
        if self._watch is not None:
            self._unsent[step] = {key: value for key, value in row.items() if isinstance(value, int | float)}

    def _catch_up(self, step: int) -> None:
        """Send the rows below ``step`` that are in metrics.csv but have not reached W&B.

        Rows are missing only after a kill, not within one process, so the file is read once.
        """
        if self._caught_up:
            return
        self._caught_up = True
        path = self.run_dir / FILE_NAME
        for row in read_metrics(path) if path.exists() else []:
            if self._state.highest < (row["step"] or 0) < step:
                self._pending = {key: value for key, value in row.items() if value is not None}
                self._hand_over()

    def _start(self) -> None:
        reporting = silence()

        self._state.read()
        close_left(self.run_dir, wait=_SERVICE_ENDS)
        folders = self._state.folders("offline-run")
        settings = known_settings()
        mode, reason = choose_mode(self._mode, settings)
        if mode == "disabled":
            self._stopped = True
            return
        if mode == "online":
            allow(reporting)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        check_room(self.run_dir / "wandb")
        if mode == "online":
            self._watch = ServerWatch(str(settings.base_url))
            problem = self._try_online(self._watch)
            if problem:
                mode = "offline"
                reason = f"W&B cannot be used online ({settings.base_url} {problem}; it is asked again later)"
        if mode == "offline":
            self._run = self._init(mode)
        if mode == "offline" and folders and not self._state.folders("run"):
            # The end of the offline record was lost in a kill: those rows are sent again.
            written = last_step(folders)
            self._state.highest = self._state.highest if written is None else min(self._state.highest, written)
        elif mode == "online":
            # The wandb.json of this run was lost: the server knows the highest step.
            self._state.highest = max(self._state.highest, int(self._run.step) - 1)
        self._caught_up = False
        self._state.write()
        self._state.announce(mode, reason, str(self._run.url) if mode == "online" else "")

    def _try_online(self, watch: ServerWatch) -> str:
        """Try for some seconds to start online; return "", or the reason why it failed."""
        if not watch.wait(FIRST_WAIT):
            return "does not answer"
        try:
            self._run = self._init("online")
        except Exception as error:  # any, see _guarded
            import wandb

            wandb.teardown()  # else the service keeps the id in use
            watch.again()
            return f"answers: {one_line(_first_line(error))}"
        watch.stop()
        self._watch = None
        return ""

    def _go_online(self) -> None:
        """Bring a run online that waited for its server, and send all rows that the server does not have."""
        watch, pending = self._watch, self._pending
        if watch is None or not watch.answered:
            return
        import wandb

        self._run.finish()
        try:
            self._run = self._init("online")
        except Exception:  # any, as in _start, which has said so
            wandb.teardown()
            self._run = self._init("offline")
            self._watch = watch if watch.again() else None
            return
        watch.stop()
        self._watch = None
        path = self.run_dir / FILE_NAME
        rows: dict[int, Any] = {int(row["step"] or 0): row for row in (read_metrics(path) if path.exists() else [])}
        rows |= self._unsent
        self._state.highest, self._unsent, self._caught_up = int(self._run.step) - 1, {}, True
        for step in sorted(rows):
            if self._state.highest < step < pending.get("step", step + 1):
                self._pending = {key: value for key, value in rows[step].items() if value is not None}
                self._pending["step"] = step
                self._hand_over()
        self._pending = pending
        self._state.announce("online", "its server answers again", str(self._run.url))

    def _init(self, mode: Any) -> Any:
        with quiet_log(self._log_lost):
            return self._state.start(mode, self._arguments, self._settings)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run an action of W&B; no failure of its network or disk may stop a training."""
        if self._stopped:
            return
        try:
            action()
        except Exception as error:  # any: wandb raises errors of its own, of pydantic, of its service, of the system
            self._stop(error)

    def _log_lost(self) -> None:
        """Stop W&B when its own log cannot be written: its record on the same disk cannot be either."""
        error = sys.exc_info()[1]
        if not self._stopped:
            self._stop(error if isinstance(error, Exception) else OSError("its debug.log cannot be written"))

    def _stop(self, error: Exception) -> None:
        self._stopped = True
        warnings.warn(
            f"W&B logging stops here ({type(error).__name__}: {_first_line(error)}); training goes on, and "
            f"{short_path(self.run_dir / FILE_NAME)} has every value",
            stacklevel=2,
        )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
