"""The objects that the parts of a fit share: its config, rank, data, directory and loggers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.data.datamodule import DataModule
from lab.data.presence import describe_presence
from lab.errors import RunError
from lab.experiment.assembly import Plan, build_data, make_plan, prepare
from lab.experiment.wandb_logger import make_wandb, num_shown
from lab.loggers.metrics_csv import MetricsCSV
from lab.loggers.tracker import Tracker
from lab.loggers.wandb_run import WandbRun
from lab.report.tables import print_config, print_notes, print_tables
from lab.run_directory import RunDirectory
from lab.run_progress import beat_at_start
from lab.system.ranks import Place
from lab.system.signals import SignalWatch
from lab.training.freezing import Freezing
from lab.training.schedules import warmup_note


@dataclass
class FitContext:
    """A fit after its data was opened and its steps were counted.

    Attributes:
        config: the resolved config; ``strategy=auto`` is replaced by the chosen strategy before the training begins.
        run: its directory; rank 0 writes to it.
        place: the rank of this process and the number of ranks.
        watch: receives the signals that end a training.
        data: the data of training, validation and test.
        plan: the length of the training.
        metrics: ``metrics.csv``.
        wandb: the W&B run; None if W&B is off, and on ranks other than 0.
        trackers: the others, TensorBoard and MLflow; none on ranks other than 0.
        freezing: which parameters train when; None if all of them do from the start.
        num_steps: that this fit has taken.
        stopped_at: the step at which early stopping has ended the training; None if it goes to the last step.
    """

    config: dict[str, Any]
    run: RunDirectory
    place: Place
    watch: SignalWatch
    data: DataModule
    plan: Plan
    metrics: MetricsCSV
    wandb: WandbRun | None
    trackers: list[Tracker] = field(default_factory=list)
    freezing: Freezing | None = None
    num_steps: int = 0
    stopped_at: int | None = None

    @property
    def last_step(self) -> int:
        """The step that the training ends with."""
        return self.plan.max_steps if self.stopped_at is None else self.stopped_at

    @property
    def num_shown(self) -> int:
        """How many samples of an evaluation W&B gets, on this rank."""
        return 0 if self.wandb is None else num_shown(self.config)

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which prints and writes for all ranks."""
        return self.place.rank == 0

    def beat(self, step: int = 0) -> None:
        """Tell the master of a sweep that the training, which is to go on from ``step``, is being prepared."""
        if self.is_first:
            beat_at_start(step, self.plan.max_steps)

    def say(self, line: str) -> None:
        """Print a line, on rank 0 only."""
        if self.is_first:
            print(line)

    def warn(self, line: str) -> None:
        """Print a warning, on rank 0 only."""
        if self.is_first:
            print(f"warning: {line}", file=sys.stderr)


def open_context(
    config: dict[str, Any], run: RunDirectory, place: Place, watch: SignalWatch, own: DataModule | None
) -> FitContext:
    """Build the data, check that it is the data of the run, print notes on it, and count the steps.

    Args:
        config: the resolved config.
        run: its directory, after ``begin``.
        place: the rank of this process and the number of ranks.
        watch: receives the signals that end a training.
        own: a DataModule object of the caller, which replaces the one that the config names.

    Raises:
        LabError: something in the config or the data is wrong, or the data has changed since the run was made.
    """
    if place.rank == 0:
        print_config(config)
    prepare(config)
    data = build_data(config, own)
    check_dataset(data, config, run)
    if place.rank == 0:
        beat_at_start()  # reading the data may have taken a while
    presence = describe_presence(data, ("train", "val", "test"))
    if place.rank == 0:
        print_tables(data.tables())
        print_notes(presence)
    plan = make_plan(config, data, place)
    if place.rank == 0:
        say_warmup(config, plan)
    wandb = make_wandb(config, run) if place.rank == 0 else None
    trackers = make_trackers(config, run) if place.rank == 0 else []
    return FitContext(config, run, place, watch, data, plan, MetricsCSV(run.path), wandb, trackers)


def say_warmup(config: Mapping[str, Any], plan: Plan) -> None:
    """Print a note if the warm-up is long compared with the training."""
    note = warmup_note(config["scheduler"], plan.max_steps, config["optimizer"]["lr"])
    print_notes([note] if note else [])


def check_dataset(data: DataModule, config: Mapping[str, Any], run: RunDirectory) -> None:
    """Compare the data with the data that the run began with, and record its fingerprint.

    Raises:
        RunError: the data has changed, and the command does not name this run (``resume=DIR``).
    """
    fingerprint = data.fingerprint()
    known = run.record.get("dataset")
    if known == fingerprint:
        return
    if known is not None:
        if config["resume"] in ("auto", "never"):
            raise RunError(
                f"{run.path}: the dataset data={config['data']['name']} has changed since this run was made; "
                f"resume=never starts afresh, resume={run.path} continues it all the same"
            )
        run.update(changes=[*run.record.get("changes", []), {"dataset": [known, fingerprint]}])
    rows = data.rows_read()
    run.update(dataset=fingerprint, **({"rows_read": rows} if rows else {}))


def make_trackers(config: Mapping[str, Any], run: RunDirectory) -> list[Tracker]:
    """Return the loggers of the run directory besides metrics.csv and W&B."""
    found: list[Tracker] = []
    if config["logger"].get("tensorboard") is not None:
        from lab.loggers.tensorboard_run import TensorBoardRun

        found.append(TensorBoardRun(run.path, config))
    if (settings := config["logger"].get("mlflow")) is not None:
        from lab.loggers.mlflow_run import MlflowRun, choose_store

        labels = {"model": config["model"]["name"], "data": config["data"]["name"], "stage": config["stage"]}
        commit = run.record.get("commit")
        labels |= {"mlflow.source.git.commit": str(commit)} if commit else {}
        store = choose_store(settings["tracking_uri"], config["paths"]["runs_dir"])
        found.append(MlflowRun(run.path, store, settings["experiment"], config, {**labels, **settings["tags"]}))
    return found
