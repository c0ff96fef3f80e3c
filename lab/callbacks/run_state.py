"""Writes the state of a training under any strategy into a checkpoint, and restores it under any other strategy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor

from lab.callbacks.divergence import Divergence
from lab.callbacks.early_stopping import EarlyStopping
from lab.callbacks.ema import EMA
from lab.callbacks.resumable import check_alike, read_training
from lab.checkpoint.access import StateAccess
from lab.checkpoint.format import CheckpointReader, Piece, understood
from lab.checkpoint.rng import rng_state
from lab.checkpoint.writer import write_checkpoint
from lab.errors import CheckpointError
from lab.registry.migrated import require_current
from lab.registry.migrations import RECORD, versions_of
from lab.strategies import collectives
from lab.system.provenance import describe_versions


class RunState:
    """Writes and restores a training; every rank calls every method.

    Args:
        ema: the average of the weights, part of the state, if there is one.
        divergence: refuses tensors that are not finite before anything is written; its counts are part of the state.
        stopping: may end the training early; its counts are part of the state, and whoever made it has restored them.
    """

    def __init__(
        self, ema: EMA | None, divergence: Divergence | None = None, stopping: EarlyStopping | None = None
    ) -> None:
        self.ema, self.divergence, self.stopping = ema, divergence, stopping
        self._versions = describe_versions()

    def write(
        self, path: Path, trainer: pl.Trainer, module: pl.LightningModule, best: float | None, keep: Path | None
    ) -> None:
        """Write everything that a resume needs; an older checkpoint at ``path`` is kept as ``keep``.

        Raises:
            Diverged: a tensor is not finite; nothing is written.
        """
        access, (optimizer,) = _access(trainer), trainer.optimizers
        pieces = access.pieces(module, optimizer)
        state = {
            **self._describe(trainer, module),
            "best": best,
            "optimizer_groups": access.groups(module, optimizer),
            "lr_schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
            "precision": trainer.precision_plugin.state_dict(),
            "rng": collectives.collect([rng_state()]),
            "network": self._network_state(module),
        }
        if self.ema is not None:
            pieces |= access.average_pieces(self.ema.named(module))
            state["ema"] = {"updates": self.ema.updates}
        if self.divergence is not None:
            state["skipped"] = self.divergence.state_dict()
            self._confirm(trainer, pieces, state["network"])
        if self.stopping is not None:
            state["early_stopping"] = self.stopping.state_dict()
        step = trainer.global_step
        write_checkpoint(path, pieces, state, step, rank=trainer.global_rank, barrier=_barrier, keep=keep)

    def write_weights(self, path: Path, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the module's current weights, and the arguments to build it."""
        pieces, state = _access(trainer).pieces(module, None), self._describe(trainer, module)
        self._confirm(trainer, pieces, {})
        write_checkpoint(path, pieces, state, trainer.global_step, rank=trainer.global_rank, barrier=_barrier)

    def restore(self, path: Path, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
        """Restore module, optimizer, schedule, gradient scaler and average; return the plain state for the rest.

        Raises:
            CheckpointError: the checkpoint is of another training, or holds only weights.
        """
        reader, access, (optimizer,) = CheckpointReader(path), _access(trainer), trainer.optimizers
        state = read_training(reader, _kind(module))
        require_current(reader, module)
        access.restore(reader, module, optimizer)
        for group, saved in zip(optimizer.param_groups, state["optimizer_groups"], strict=False):
            check_alike(reader, "optimizer_groups", {**saved, "params": group["params"]}, group, "lr")
        access.compare_groups(module, optimizer, state["optimizer_groups"])
        self._compare(reader, trainer, state)
        for config, saved in zip(trainer.lr_scheduler_configs, state["lr_schedulers"], strict=True):
            restore_schedule(config.scheduler, optimizer, saved)
        if state["precision"]:
            with understood(path, "state of this precision"):
                trainer.precision_plugin.load_state_dict(state["precision"])
        load: Any = getattr(module.net, "load_training_state", None)
        if load is not None:
            with understood(path, "state of this network"):
                load(state["network"])
        if self.ema is not None and "ema" in state:
            self.ema.prepare(module)
            self.ema.updates = state["ema"]["updates"]
            access.restore_average(reader, self.ema.named(module))
        if self.divergence is not None and "skipped" in state:
            try:
                self.divergence.load_state_dict(state["skipped"])
            except (KeyError, TypeError, ValueError):
                raise CheckpointError(f"{path} is damaged: its counts of skipped steps are not numbers") from None
        return state

    def _confirm(self, trainer: pl.Trainer, pieces: Mapping[str, Piece], network: Mapping[str, Tensor]) -> None:
        if self.divergence is not None:
            held = {name: piece.data for name, piece in pieces.items()}
            self.divergence.confirm(trainer, held | {f"the network's {name}": value for name, value in network.items()})

    @staticmethod
    def _compare(reader: CheckpointReader, trainer: pl.Trainer, state: dict[str, Any]) -> None:
        """Check the schedules before they are restored: torch would turn every key of theirs into an attribute."""
        saved, now = state["lr_schedulers"], [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
        if len(saved) != len(now):
            raise CheckpointError(f"{reader.path} does not fit: it has {len(saved)} schedules, there are {len(now)}")
        for theirs, ours in zip(saved, now, strict=True):
            unknown = sorted(map(str, theirs.keys() - ours.keys()))
            if unknown:
                raise CheckpointError(f"{reader.path} is damaged: its lr_schedulers have {unknown[0][:80]!r}")
            check_alike(reader, "lr_schedulers", theirs, ours, "last_epoch")

    @staticmethod
    def _network_state(module: pl.LightningModule) -> dict[str, Tensor]:
        """Return a network's state between steps beside parameters and buffers, such as GRU4Rec's hidden states.

        Each rank has its own rows of a tensor and zeros in the others, so the whole tensor is the sum over ranks.
        """
        own: Any = getattr(module.net, "training_state", None)
        if own is None:
            return {}
        return {name: collectives.sum_tensors(tensor) for name, tensor in own().items()}

    def _describe(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
        return {
            "step": trainer.global_step,
            "task": _kind(module),
            "hyper_parameters": dict(module.hparams),
            "weights_kind": module.weights_kind,
            "world_size": collectives.world_size(),
            "versions": self._versions,
            RECORD: versions_of(module),
        }


def restore_schedule(scheduler: Any, optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Restore where a schedule stands; rates and factors are those of the config, which a resume may have changed."""
    if isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):  # all of lab's own
        pairs = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        last = [rate * factor(saved["last_epoch"]) for rate, factor in pairs]
        saved = {**saved, "base_lrs": list(scheduler.base_lrs), "_last_lr": last}
    scheduler.load_state_dict(saved)
    for group, rate in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = rate


def _access(trainer: pl.Trainer) -> StateAccess:
    access: StateAccess | None = getattr(trainer.strategy, "state_access", None)
    return access or StateAccess()


def _barrier() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def _kind(module: pl.LightningModule) -> str:
    """Return the kind of problem of a task; any other module is named by its class."""
    return str(getattr(module, "kind", type(module).__name__))
