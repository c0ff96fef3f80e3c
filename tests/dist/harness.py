"""Runs whole configs inside the ranks of ``tests.distributed.run_distributed``, or in this process alone.

``fit`` is what ``python run.py WORDS`` does, without starting processes: the ranks exist already.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import torch

from lab.checkpoint.format import CheckpointReader
from lab.errors import Diverged
from lab.experiment.assembly import ranks
from lab.experiment.fit import Fit
from lab.launch.outcomes import exit_code
from lab.launch.prepare import prepare_job
from lab.loggers.metrics_file import read_metrics
from lab.run_directory import RunDirectory
from lab.system.ranks import Place
from lab.system.signals import Interrupted

SMALL = (
    "trainer=cpu",
    "logger=csv",
    "callbacks=default",
    "callbacks.progress=false",
    "callbacks.pictures=0",
    "data.num_train=64",
    "data.num_val=5",
    "data.num_test=5",
    "data.image_size=32",
    "data.max_side=20",
    "data.batch_size=8",
    "scheduler=constant",
    "trainer.max_steps=20",
    "trainer.val_every_n_steps=20",
    "trainer.log_every_n_steps=1",
)
"""A fit of 20 steps of detr_tiny that takes about two seconds on one core."""


def fit(
    words: tuple[str, ...],
    folder: Path,
    rank: int = 0,
    world_size: int = 1,
    base: tuple[str, ...] = SMALL,
    code: int = 0,
) -> Path:
    """Fit ``base`` and ``words`` on this rank and return the run's directory.

    Args:
        words: further words; later ones win.
        folder: where ``runs`` go.
        rank: this process.
        world_size: the processes that call this function, with equal arguments.
        base: words of a small fit.
        code: the exit code that is expected.
    """
    place = Place(rank, rank, world_size, world_size)
    keys = {word.split("=", 1)[0] for word in words}
    given = [word for word in base if word.split("=", 1)[0] not in keys]
    devices = [f"trainer.devices={world_size}"] if world_size > 1 and "trainer.devices" not in keys else []
    prepared = prepare_job([*given, *words, *devices, f"paths.runs_dir={folder}"], [])
    is_new = not (prepared.path / "run.json").is_file()
    _meet()
    run = prepared.begin()[1] if rank == 0 else None
    _meet()
    joined = RunDirectory.joined(prepared.path, is_new, "new", writes=rank == 0)
    with ranks(prepared.config, place), redirect_stdout(io.StringIO()):
        ended = 0
        try:
            Fit(prepared.config, joined, place).run()
        except (Diverged, Interrupted) as error:
            ended = exit_code(error)
        assert ended == code
    if run is not None:
        run.settle(code)
        run.release()
    _meet()
    return prepared.path


def _meet() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def losses(run: Path) -> list[float]:
    """Return ``train/loss`` of every step."""
    return [row["train/loss"] for row in read_metrics(run / "metrics.csv") if row.get("train/loss") is not None]


def weights(run: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    """Return the whole weights of a checkpoint."""
    reader = CheckpointReader(run / "checkpoints" / name)
    return {key.removeprefix("model/"): reader.read(key) for key in reader.names() if key.startswith("model/")}


def worst_relative(these: list[float], those: list[float]) -> float:
    """Return the largest relative difference."""
    assert len(these) == len(those) > 0
    return max(abs(a - b) / abs(b) for a, b in zip(these, those, strict=True))
