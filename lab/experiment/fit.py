"""A fit: train from the run's last checkpoint, test the best one, and record how it ended.

Packages below this one receive no config object: constructors take plain arguments.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from lab.checkpoint.format import CheckpointReader
from lab.data.datamodule import DataModule
from lab.errors import Diverged, LabError, Pruned
from lab.experiment.assembly import build_data, prepare
from lab.experiment.context import FitContext, check_dataset, open_context
from lab.experiment.testing import measure_best
from lab.experiment.training import train
from lab.report.tables import print_result
from lab.run_directory import REFUSED, RunDirectory
from lab.run_progress import beat_at_start
from lab.strategies import collectives
from lab.system.ranks import Place
from lab.system.signals import Interrupted, SignalWatch


class Fit:
    """One training and its test, from a resolved config to a result in the run's directory.

    The work begins when ``run`` is called, and a ``Fit`` runs once. A process may run several fits in turn.
    A fit needs a process group only if its strategy does (``lab.experiment.assembly.ranks``). It never ends the
    process.

    Args:
        config: the resolved config, as ``lab.launch.prepare.prepare_job`` returns it; it is not changed.
        run: the run's directory after ``begin``: from ``lab.launch.open_run.open_run`` for a run that is not finished,
            or from ``RunDirectory.joined`` in a rank. Rank 0 writes to it. The caller that locked it releases it.
        place: the rank of this process and the number of ranks; None for a job of one process.
        data: a DataModule object of the caller, which replaces the one that ``config["data"]`` names. Its own batch
            size is used, not the config's. Its plan is replaced. Each rank passes its own object.
        handle_signals: whether SIGINT and SIGTERM end the training at the next optimizer step, with a checkpoint. If
            False, the handlers of the process stay: Ctrl-C raises ``KeyboardInterrupt`` at once, and a repeated fit
            continues from the last checkpoint. Outside of the main thread handlers are never changed.
    """

    def __init__(
        self,
        config: dict[str, Any],
        run: RunDirectory,
        place: Place | None = None,
        data: DataModule | None = None,
        handle_signals: bool = True,
    ) -> None:
        self.config, self.directory, self.place, self.data = config, run, place or Place(), data
        self.handle_signals = handle_signals
        self.watch = SignalWatch()
        self._context: FitContext | None = None
        self._code, self._state = 1, "failed"
        self._is_refused = False

    def run(self) -> dict[str, float | None]:
        """Train to the last step, test the best checkpoint and record how it ended; every rank calls this.

        Returns:
            The metrics of the best checkpoint, ``val/...`` and ``test/...``; None for an undefined metric. They are
            in ``run.json`` too. Empty on ranks other than 0.

        Raises:
            LabError: something in the config, the data or the run directory is wrong.
            Diverged: a loss or gradient was not finite; the message says from which checkpoint the run continues.
            Pruned: the search of a sweep has ended the training; a checkpoint was written.
            Interrupted: a signal came, with ``handle_signals``.
            KeyboardInterrupt: Ctrl-C, without ``handle_signals``.
        """
        try:
            with self.watch if self.handle_signals else nullcontext():
                return self._run()
        except Diverged:
            collectives.largest(0)  # wait for all ranks: the parent ends the others seconds after the first one ends
            raise

    def _run(self) -> dict[str, float | None]:
        try:
            result = self._train_and_test()
            self.directory.update(result=result)
            self._code, self._state = 0, "finished"
            return result
        except (Interrupted, KeyboardInterrupt) as interrupted:
            self._code, self._state = getattr(interrupted, "exit_code", 130), "interrupted"
            raise
        except SystemExit as error:
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
            self._code, self._state = 130, "interrupted"
            raise KeyboardInterrupt from error  # Lightning has turned it into SystemExit
        except Pruned:
            self._code, self._state = 0, "pruned"
            raise
        except Diverged as error:
            self._state = "diverged"
            raise self._record_divergence(error) from error
        except LabError:
            has_trained = self._context is not None and self._context.num_steps > 0
            self._is_refused = not (self.directory.is_new or has_trained)
            self._code, self._state = 2, self.directory.before if self._is_refused else "failed"
            raise
        except RuntimeError as error:
            # If a second Ctrl-C has stopped this rank, the others wait for it in a collective.
            if not self.watch.received or not collectives.is_lost(error):
                raise
            self._code, self._state = 128 + self.watch.received, "interrupted"
            raise Interrupted(self.watch.received) from error
        finally:
            self._end()

    def _train_and_test(self) -> dict[str, float | None]:
        if self.place.rank == 0:
            beat_at_start()
        self._context = open_context(self.config, self.directory, self.place, self.watch, self.data)
        train(self._context)
        return measure_best(self._context)

    def _record_divergence(self, error: Diverged) -> Diverged:
        """Record the divergence in ``run.json``; return the error with the checkpoint from which the run continues."""
        run = self.directory
        run.update(diverged=[*run.record.get("diverged", []), {"step": error.step, "term": error.term}])
        last = run.checkpoints / "last.ckpt"
        also = "the same command starts again, because there is no checkpoint yet"
        if self.place.rank == 0 and last.exists():
            start = f"step {CheckpointReader(last).step}"
            also = f"the same command continues from {start}, and so does resume={run.path} with changed settings"
        return Diverged(f"{error}; {also}", error.step, error.term)

    def _end(self) -> None:
        """Record how the fit ended, and end the runs of W&B and the trackers."""
        try:
            self.directory.end(self._state, self._code, **({REFUSED: True} if self._is_refused else {}))
        except OSError:
            if self._code == 0:
                raise
            # The error that ends the run reports the disk problem. run.json still says "running", which is read as
            # interrupted.
        finally:
            if self._context is not None and self._context.wandb is not None:
                self._context.wandb.finish(self._code, self._state)
            for tracker in self._context.trackers if self._context is not None else ():
                tracker.finish(self._state)


def report_finished(config: dict[str, Any], run: RunDirectory, data: DataModule | None = None) -> None:
    """Print the result of a finished run, if its data has not changed; ``data`` is the caller's DataModule object."""
    prepare(config)
    check_dataset(build_data(config, data), config, run)
    print(f"{run.path} is finished already: this is its result (resume=never trains afresh)")
    print_result(run, config)
