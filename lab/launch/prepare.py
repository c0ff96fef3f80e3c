"""From overrides to a job: compose and check them after those of an earlier run; run the job, release its directory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.errors import ConfigError
from lab.launch.inherited import inherit, refuse_foreign_packages, refuse_other_network
from lab.launch.jobs import Job, processes, run_job
from lab.launch.open_run import give_back, open_run
from lab.launch.outcomes import exit_code
from lab.launch.own_data import identify_own_data, take_own_data
from lab.launch.scratch import use_own_folder
from lab.launch.threads import Threads, decide, make_wait
from lab.loggers.wandb_close import close_left
from lab.run_directory import RunDirectory
from lab.run_name import run_name
from lab.system.files import is_checkpoint
from lab.system.ranks import Place

if TYPE_CHECKING:
    from lab.config.compose import Composed


@dataclass
class Prepared:
    """A composed and checked job that has not begun.

    Attributes:
        words: its overrides, including those of the run that it continues.
        user_dirs: its config folders.
        composed: its resolved config and where each key was set.
        home: the run that ``ckpt`` or ``resume`` names; None if they name no run.
        data: a DataModule object of the caller, which replaces the one that the config names.
        command: the command to record in the run; empty for the command line of this process.
        any_sources: whether a run that other sources have begun is continued: a sweep has been given new ones.
        threads: those of the run that is repeated, for ``trainer.threads=auto``.
    """

    words: list[str]
    user_dirs: list[str]
    composed: Composed
    home: Path | None = None
    data: Any = None
    command: str = ""
    any_sources: bool = False
    threads: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        return self.composed.config

    @property
    def path(self) -> Path:
        """The directory of its run."""
        return self.home or Path(self.config["paths"]["runs_dir"]) / run_name(self.config)

    def require_machine(self, devices: bool = True) -> None:
        """Check that devices, files and checkpoints exist.

        Args:
            devices: check devices too; the job may run on another machine than this one.

        Raises:
            LabError: the first thing that is missing.
        """
        from lab.config.checks import check_machine

        check_machine(self.composed, devices)
        if self.config["stage"] != "fit" and not self.config["check"]:
            self.home = self.home or _home_of(self.config)

    def begin(self, place: Place | None = None) -> tuple[Job, RunDirectory | None]:
        """Lock the run directory, if the job has its own, and return the job as the ranks receive it.

        Args:
            place: this process's rank, if an external launcher has started it.

        Raises:
            ConfigError: a variable of the environment has no meaning.
            RunError: the directory is in use, or lab's sources have changed since it was made.
        """
        for note in self.composed.notes:
            print(note)
        if self.config["check"]:
            return Job("check", self.config, threads=self._threads(place).number), None
        if self.config["stage"] != "fit":
            return Job("evaluate", self.config, str(self.path), threads=self._threads(place).number), None
        run, report = open_run(self.config, self.user_dirs, self.words, self.command, self.any_sources)
        if self.data is not None and not report:
            run.update(own_data=self.config["data"]["_target_"])
        if report:
            return Job("report", self.config, str(run.path), run.is_new, run.before), run
        try:
            threads = self._threads(place, run.threads)
            run.update(threads=threads.record())
        except BaseException as error:
            give_back(run, error)
            raise
        return Job("fit", self.config, str(run.path), run.is_new, run.before, threads.number), run

    def _threads(self, place: Place | None, before: int | None = None) -> Threads:
        threads = decide(self.config, before or self.threads, place)
        for note in threads.notes:
            print(note)
        make_wait(threads)
        return threads

    def run(
        self, here: bool = False, fork: bool = False, begun: Callable[[RunDirectory | None], None] | None = None
    ) -> Job:
        """Run the job and return it.

        Args:
            here: run a job of one rank in this process, not in a new one.
            fork: fork the ranks of other jobs from this process, which has imported torch and computed nothing.
            begun: called when the run directory, if the job has its own, is locked and the work begins.

        Raises:
            LabError: the job is refused.
            Diverged: the loss or the gradients are no longer finite.
            Pruned: the search of a sweep has ended the training.
            Interrupted: a signal has ended the job.
            RanksFailed: a worker process has failed.
            Exception: any error of a job in this process.
        """
        use_own_folder()
        job, run = self.begin()

        def work() -> None:
            if begun is not None:
                begun(run)
            if here and job.world_size == 1:
                run_job(job, Place(), data=self.data)
                return
            from lab.launch.workers import run_workers

            run_workers(job, fork)

        carry_out(job, run, work)
        return job


def carry_out(job: Job, run: RunDirectory | None, work: Callable[[], None]) -> None:
    """Do a job's work; in any case record the end in its directory, if it has one, and release it."""
    code = 0
    try:
        work()
    except BaseException as error:
        code = exit_code(error)
        raise
    finally:
        if run is not None:
            _settle(job, run, code)


def _settle(job: Job, run: RunDirectory, code: int) -> None:
    """Record the end, remove the directory of a job that was refused before it began, release the lock."""
    try:
        if job.kind == "fit":
            run.settle(code)
            if code not in (0, 2):
                close_left(run.path, code, wait=1.0)  # of a rank that was killed
            if code == 2:
                run.discard_unused()
    except OSError as error:
        if code in (0, 2):  # otherwise an error is printed anyway; state "running" without a lock means interrupted
            print(f"warning: {run.path}: the end of the job could not be recorded ({error.strerror})", file=sys.stderr)
    finally:
        run.release()


def prepare_job(
    overrides: list[str],
    user_dirs: list[str],
    machine: bool = True,
    place: Place | None = None,
    data: Any = None,
) -> Prepared:
    """Compose and check a job.

    Args:
        overrides: the overrides of the command line.
        user_dirs: further config folders.
        machine: check files and devices too.
        place: this process's rank, if an external launcher has started it.
        data: a DataModule object of the caller, which replaces the one that the overrides name.

    Raises:
        LabError: the first thing that is wrong.
    """
    from lab.config.compose import compose_config
    from lab.launch.targets import check_all

    words, folders, home = inherit(overrides, user_dirs, data is not None)
    composed = compose_config(words, folders)
    if home is not None:
        refuse_foreign_packages(composed.config["extensions"], home, words, overrides, user_dirs)
    if data is not None:
        take_own_data(composed, data)
    check_all(composed, machine=False)
    if home is not None and composed.config["stage"] != "fit":
        refuse_other_network(composed.config, home, overrides, folders)
    nodes, devices = composed.config["trainer"]["num_nodes"], composed.config["trainer"]["devices"]
    if nodes > 1 and place is None:
        raise ConfigError(
            f"trainer.num_nodes={nodes} ({composed.origin('trainer.num_nodes')}): several machines are started from "
            f"outside: torchrun --nnodes={nodes} --nproc_per_node={devices} ... run.py on each"
        )
    prepared = Prepared(words, folders, composed, home, data)
    if data is not None:
        identify_own_data(composed, data, processes(composed.config) * nodes)
    if machine:
        prepared.require_machine()
    return prepared


def check_words(words: Iterable[str]) -> None:
    """Check that every word has the form ``key=value``.

    Raises:
        ConfigError: one has not.
    """
    for word in words:
        if "=" not in word and not word.startswith("~"):
            raise ConfigError(f"{word}: not understood; write key=value, or see --help")


def _home_of(config: dict[str, Any]) -> Path:
    """Return the run directory of this config for a stage without a checkpoint of a run."""
    path = Path(config["paths"]["runs_dir"]) / run_name(config)
    best = path / "checkpoints" / "best.ckpt"
    if config["ckpt"] is None and config["model"]["pretrained"] is None:
        if not is_checkpoint(best):
            raise ConfigError(
                f"stage={config['stage']} needs ckpt=FILE (or model.pretrained=TAG): this config has not been "
                f"trained yet, {best} does not exist"
            )
        config["ckpt"] = str(best)
    return path
