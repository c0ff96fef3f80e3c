"""Everything that the command line does, for Python: in a notebook, a script, a thread.

    import lab

    config = lab.compose("model=detr_tiny", "trainer.max_steps=100")
    run = lab.fit(config)
    run.result["test/map"], run.metrics, run.pictures
    task = lab.load(run)
    task.predict("photo.jpg").above(0.5).names

``words`` are overrides as on the command line. Keyword arguments are overrides too:
``lab.fit(model="detr_tiny", trainer={"max_steps": 100})``. Errors are raised: a ``LabError`` (a ``ValueError``) has one
line that says what would be right. No call ends the process, and each restores its state: seeds, warning filters,
environment, signal handlers. Ctrl-C during a training raises ``KeyboardInterrupt`` after the current step; repeating
the call continues from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.config.words import words_of
from lab.errors import CheckpointError, ConfigError
from lab.launch.calls import Config, Folders, called, is_plain, prepare_call, require_stage, run_call
from lab.launch.untouched import untouched
from lab.report.evaluations import Evaluation
from lab.report.runs import Run, Runs, list_runs, read_run
from lab.run_directory import stage_folder

if TYPE_CHECKING:
    from lab.data.datamodule import DataModule
    from lab.training.task import Task

    Data = DataModule | str | Mapping[str, Any] | None

__all__ = [
    "Config",
    "Evaluation",
    "Run",
    "Runs",
    "check",
    "compose",
    "fit",
    "load",
    "predict",
    "read_run",
    "runs",
    "test",
    "validate",
]


def compose(*words: str | Config, config_dir: Folders = (), **values: Any) -> Config:
    """Compose and check a config, as the command line does before it begins; torch is not imported.

    Files and devices are not checked yet.

    Args:
        words: overrides as on the command line, ``"model=detr"`` for instance, or a config to begin with.
        config_dir: folders with groups and recipes of your own, as ``--config-dir``.
        values: overrides as keyword arguments: ``model="detr"``, ``optimizer={"lr": 1e-4}``.

    Raises:
        ConfigError: an override, a key or a combination is wrong.
    """
    with untouched():
        return Config.of_job(prepare_call(words, values, config_dir, machine=False))


def fit(
    *words: str | Config,
    data: Data = None,
    config_dir: Folders = (),
    **values: Any,
) -> Run:
    """Train, test the best checkpoint and return the run; continue an unfinished run, return a finished one at once.

    A config that asks for several devices trains in worker processes, as on the command line.

    Args:
        words: overrides as on the command line, or a config of ``compose``.
        data: a dataset's name, keys of ``data``, or a ``DataModule`` of your own. ``config.yaml`` describes such an
            object by its class, its public attributes and a fingerprint of its content. The run's name depends on
            these, so a call with an equal object continues the run.
        config_dir: folders with groups and recipes of your own.
        values: overrides as keyword arguments.

    Raises:
        LabError: something in the config, the data or the run directory is wrong.
        Diverged: the loss or the gradients are no longer finite.
        Pruned: the search of a sweep that this process is a job of has ended the training; the run has no result, its
            state is ``pruned``, and repeating the call continues it.
        KeyboardInterrupt: Ctrl-C or SIGTERM, at the next optimizer step; repeating the call continues the run.
        RanksFailed: a worker process has failed.
    """
    with called():
        job = prepare_call(words, _with_data(values, data), config_dir, data)
        if job.config["check"]:
            raise ConfigError("check=true trains nothing and leaves no run: call lab.check")
        require_stage(job, "fit")
        path = run_call(job, "fit", words, values)
    return read_run(path)


def check(
    *words: str | Config,
    data: Data = None,
    config_dir: Folders = (),
    **values: Any,
) -> None:
    """Build and check everything that a fit needs and print a summary; train nothing (``check=true``).

    Args:
        words: overrides as on the command line, or a config of ``compose``.
        data: as for ``fit``.
        config_dir: folders with groups and recipes of your own.
        values: overrides as keyword arguments.

    Raises:
        LabError: the first thing that is wrong.
    """
    with called():
        job = prepare_call((*words, "check=true"), _with_data(values, data), config_dir, data)
        run_call(job, "check", words, values)


def test(
    ckpt: str | Path | Run | Config | None = None,
    *words: str | Config,
    data: Data = None,
    config_dir: Folders = (),
    **values: Any,
) -> Evaluation:
    """Measure a checkpoint on the test set, as ``stage=test``; its files are written beside the fit's result.

    Args:
        ckpt: a checkpoint, a run (its best.ckpt), or a config whose run has one. The overrides of a checkpoint's run
            are used. None: ``words`` name the checkpoint.
        words: further overrides.
        data: as for ``fit``; needed if the run was fitted with a DataModule object.
        config_dir: folders with groups and recipes of your own.
        values: overrides as keyword arguments.

    Raises:
        LabError: the checkpoint or the data cannot be used.
    """
    return _evaluate("test", ckpt, words, data, config_dir, values)


def validate(
    ckpt: str | Path | Run | Config | None = None,
    *words: str | Config,
    data: Data = None,
    config_dir: Folders = (),
    **values: Any,
) -> Evaluation:
    """Measure a checkpoint on the validation set, as ``stage=validate``; see ``test``."""
    return _evaluate("validate", ckpt, words, data, config_dir, values)


def predict(
    ckpt: str | Path | Run | Config,
    input: str | Path,
    *words: str | Config,
    data: Data = None,
    config_dir: Folders = (),
    **values: Any,
) -> Path:
    """Predict on files with a checkpoint, as ``stage=predict``, and write results and pictures.

    ``lab.load(ckpt).predict(...)`` takes images, arrays and histories in memory, and writes nothing.

    Args:
        ckpt: a checkpoint, a run, or a config whose run has a best.ckpt.
        input: a file or a folder.
        words: further overrides.
        data: as for ``fit``; needed if the run was fitted with a DataModule object.
        config_dir: folders with groups and recipes of your own.
        values: overrides as keyword arguments.

    Returns:
        The folder of the written files, for instance ``predict-best`` in the run's directory.

    Raises:
        LabError: the checkpoint or the input cannot be used.
    """
    if not isinstance(input, str | Path):
        raise ConfigError(f"input is a {type(input).__name__}, not a path: lab.load(ckpt).predict accepts it")
    with called():
        given = (*_of_ckpt(ckpt), *words_of({"stage": "predict", "input": str(input)}), *words)
        job = prepare_call(given, _with_data(values, data), config_dir, data)
        run_call(job, "predict", given, values)
        return stage_folder(job.config, job.path)


def load(ckpt: str | Path | Run, device: str = "cpu", extensions: Sequence[str] = ()) -> Task:
    """Return the trained task of a checkpoint, of any kind of problem and any strategy, in evaluation mode.

    ``task.predict(...)`` takes a path, PIL image, array or tensor, or a history of items, or a list of these. Its
    docstring says what it returns. ``task.net`` is the network, ``task.class_names`` are the names of its labels.

    Args:
        ckpt: a checkpoint, a run or a run's directory (its best.ckpt).
        device: where to compute, ``"cuda"`` for instance.
        extensions: packages that register the checkpoint's kind or network; they are imported.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or of an unknown kind.
        RunError: the run has no best.ckpt.
    """
    with untouched():
        from lab.checkpoint.format import CheckpointReader
        from lab.compat.imports import put_off_imports
        from lab.registry.allowed import allow_package
        from lab.system.registrations import import_package
        from lab.training.spec import task_names, task_spec
        from lab.training.stored import read_description

        put_off_imports()
        for name in [extensions] if isinstance(extensions, str) else extensions:
            import_package(name)
            allow_package(name)
        path = _checkpoint(ckpt)
        kind = read_description(CheckpointReader(path)).task
        if kind not in task_names():
            raise CheckpointError(
                f"{path} is of a model for {kind[:80]}, which no package has registered: give its package, "
                "extensions=[...]"
            )
        task: Task = task_spec(kind).load_task().load_from_checkpoint(path)
        return task.to(device).eval()


def runs(folder: str | Path = "runs") -> Runs:
    """Return all runs of a folder, oldest first; ``.frame()`` is a table of them.

    Args:
        folder: ``paths.runs_dir``.

    Raises:
        RunError: there is no such folder.
    """
    return list_runs(folder)


def _evaluate(
    stage: str,
    ckpt: str | Path | Run | Config | None,
    words: Sequence[str | Config],
    data: Any,
    config_dir: Folders,
    values: Mapping[str, Any],
) -> Evaluation:
    with called():
        given = (*_of_ckpt(ckpt), f"stage={stage}", *words)
        job = prepare_call(given, _with_data(values, data), config_dir, data)
        run_call(job, stage, given, values)
        return Evaluation(stage_folder(job.config, job.path))


def _of_ckpt(ckpt: str | Path | Run | Config | None) -> tuple[str | Config, ...]:
    if ckpt is None:
        return ()
    return (ckpt,) if isinstance(ckpt, Config) else tuple(words_of({"ckpt": _checkpoint(ckpt)}))


def _checkpoint(ckpt: str | Path | Run) -> Path:
    """Return the checkpoint of a run, or the path itself."""
    if isinstance(ckpt, Run):
        return ckpt.best
    path = Path(ckpt)
    return read_run(path).best if (path / "run.json").exists() else path


def _with_data(values: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """Return the keyword arguments with ``data`` among them, unless it is an object."""
    return {**values, **({"data": data} if is_plain(data) and data is not None else {})}
