"""Fits tasks under a strategy with a plain Lightning Trainer: no config, no run directory, no callbacks of lab."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.plugins.precision import DoublePrecision

from lab.data.datamodule import LoadPlan
from lab.strategies.collectives import sum_over_ranks
from lab.strategies.environment import ManagedEnvironment
from lab.system.ranks import Place
from lab.tasks.detection.data.shapes import ShapesDataModule
from lab.tasks.detection.task import DetectionTask

STEPS = 20
TINY = {"_target_": "detr_tiny"}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"name": "adamw", "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8},
    "sgd": {"name": "sgd", "lr": 1e-2, "momentum": 0.9, "nesterov": False},
}


def detection_task(optimizer: str = "adamw", net: dict[str, Any] = TINY, kind: type = DetectionTask) -> Any:
    """Return a task whose weights are the same in every process."""
    pl.seed_everything(0, verbose=False)
    settings = {**OPTIMIZERS[optimizer], "weight_decay": 1e-4, "no_decay_norm_bias": True, "groups": []}
    spec = ShapesDataModule().spec.to_plain()
    return kind(net, spec, settings, {"name": "constant", "warmup_steps": 0}, STEPS, {"name": "none"})


def shapes(task: Any, rank: int, ranks: int, copies: int = 1, accumulate: int = 1, steps: int = STEPS) -> Any:
    """Return small scenes in global batches of 8: this rank's share of ``ranks``, the normalisers of all of them."""
    data = ShapesDataModule(batch_size=8, image_size=32, max_side=20, num_train=64, num_val=9, num_test=5)
    data.plan = LoadPlan(steps, 0, accumulate, rank, ranks, task.totals)
    if ranks * copies > 1:
        data.plan = replace(data.plan, reduce=lambda values: sum_over_ranks(values, copies))
    return data


class Losses(pl.Callback):
    """Collects the loss of each global batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        if trainer.fit_loop._should_accumulate():
            return
        loss = pl_module.step_terms["loss"].double().clone()
        if trainer.world_size > 1:
            dist.all_reduce(loss)
            loss *= getattr(trainer.strategy, "num_data_ranks", trainer.world_size) / trainer.world_size
        self.losses.append(float(loss))


def make_trainer(
    strategy: Any = None,
    rank: int = 0,
    world_size: int = 1,
    accumulate: int = 1,
    steps: int = STEPS,
    callbacks: Sequence[pl.Callback] = (),
    precision: str = "32-true",
    **more: Any,
) -> pl.Trainer:
    """Return a Trainer on CPUs that clips by norm; ``64-true`` by its plugin, since Lightning refuses its name."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    plugins: list[Any] = [DoublePrecision()] if precision == "64-true" else []
    if strategy is not None:
        plugins.append(ManagedEnvironment(Place(rank, rank, world_size, world_size)))
    return pl.Trainer(
        accelerator="cpu",
        devices=world_size,
        strategy="auto" if strategy is None else strategy,
        precision=None if precision == "64-true" else precision,  # type: ignore[arg-type]
        plugins=plugins,
        max_epochs=1,
        max_steps=steps,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=more.pop("clip", 0.1),
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **more,
    )


def fit(task: Any, data: Any, *arguments: Any, validate: bool = False, **named: Any) -> tuple[pl.Trainer, list[float]]:
    """Fit a task with ``make_trainer``'s arguments and return the Trainer and the loss of each global batch."""
    log = Losses()
    callbacks = [*named.pop("callbacks", ()), log]
    trainer = make_trainer(*arguments, callbacks=callbacks, limit_val_batches=None if validate else 0, **named)
    trainer.fit(
        task, **({"datamodule": data} if isinstance(data, pl.LightningDataModule) else {"train_dataloaders": data})
    )
    return trainer, log.losses


def weights(module: torch.nn.Module) -> dict[str, Any]:
    """Return the whole state as arrays; all ranks must call it."""
    state = {name: getattr(value, "full_tensor", lambda v=value: v)() for name, value in module.state_dict().items()}
    return {name: value.detach().double().numpy().copy() for name, value in state.items()}


def worst_loss(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the largest relative difference of two curves."""
    assert len(these) == len(those) > 0
    return max(abs(a - b) / abs(b) for a, b in zip(these, those, strict=True))


def distance(these: dict[str, Any], those: dict[str, Any]) -> float:
    """Return the norm of the difference of two states over the norm of the second."""
    assert list(these) == list(those)
    apart = sum(float(((these[name] - those[name]) ** 2).sum()) for name in those)
    return float((apart / sum(float((value**2).sum()) for value in those.values())) ** 0.5)
