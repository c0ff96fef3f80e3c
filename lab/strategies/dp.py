"""Data parallelism in one process: each device gets a part of the micro-batch, a thread and a replica of the module.

Works like ``torch.nn.DataParallel``, for machines where no processes can be started. Threads share one interpreter, so
``ddp`` is faster. Unlike in torch, replicas are built once instead of at every step, and parameters are copied only
when they have changed. Each device computes its part of the loss, and the parts are added up.

Only training uses all devices; evaluation runs on the first. Buffers are those of the first replica, as in torch: batch
norm sees only a part of the batch. Random numbers on CPUs (dropout) depend on which thread runs first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any, Protocol, Self, runtime_checkable

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from lab.compat.torch import version_of
from lab.errors import ConfigError


@runtime_checkable
class Divisible(Protocol):
    """A batch that can be cut into parts, each with the normalisers of the whole optimizer step."""

    @property
    def num_samples(self) -> int:
        """The number of samples."""
        ...

    def rows(self, chosen: slice) -> Self:
        """Return consecutive samples."""
        ...

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return a copy on a device."""
        ...


class DataParallelStrategy(SingleDeviceStrategy):
    """One process, a thread for each device.

    The module's ``training_step`` must return its samples' part of the loss, so that the parts add up for chunks of any
    size; the same holds for the values in ``step_terms``. Its batches must be ``Divisible``.

    Args:
        accelerator: ``gpu`` or ``cpu``.
        devices: the number of devices; the first holds the module itself, adds up gradients and makes the step.
    """

    def __init__(self, accelerator: str, devices: int) -> None:
        gpu = accelerator == "gpu"
        self.devices = [torch.device("cuda", index) if gpu else torch.device("cpu") for index in range(devices)]
        super().__init__(device=self.devices[0])
        self.replicas: list[pl.LightningModule] = []
        self._pool: ThreadPoolExecutor | None = None
        self._versions: list[int] | None = None

    def setup(self, trainer: pl.Trainer) -> None:
        """Build the replicas, for a training."""
        super().setup(trainer)
        module = self.lightning_module
        if module is None or trainer.state.fn != "fit":
            return
        self.replicas = [module]
        for device in self.devices[1:]:
            replica = copy.deepcopy(module).to(device)
            replica.trainer = trainer
            replica.train()
            self.replicas.append(replica)
        self._pool = ThreadPoolExecutor(len(self.devices), "replica", _begin_thread)

    def teardown(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool, self.replicas = None, []
        super().teardown()

    def training_step(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the module's ``training_step`` on every device and return the sum of the losses."""
        chunks = split(batch, len(self.devices))
        used = self.replicas[: len(chunks)]
        self._update_replicas()
        with self.precision_plugin.train_step_context():
            enter = _surroundings(self.root_device.type)
            work = [
                self._submit(enter, replica, chunk.to(device, non_blocking=True), device, *args, **kwargs)
                for replica, chunk, device in zip(used, chunks, self.devices, strict=False)
            ]
            wait(work)
        losses = [item.result() for item in work]
        for replica in used[1:]:
            _add_terms(self.replicas[0], replica, self.root_device)
        return torch.stack([loss.to(self.root_device) for loss in losses]).sum()

    def _submit(
        self, enter: Callable[[], ExitStack], module: pl.LightningModule, chunk: Any, device: torch.device, *args: Any
    ) -> Future[Tensor]:
        def run() -> Tensor:
            with enter() as stack:
                if device.type == "cuda":
                    stack.enter_context(torch.cuda.device(device))
                loss = module.training_step(chunk, *args)
            if not isinstance(loss, Tensor):
                raise ConfigError(f"strategy=dp: training_step should return the loss, not {type(loss).__name__}")
            return loss

        assert self._pool is not None
        return self._pool.submit(run)

    def _update_replicas(self) -> None:
        """Copy buffers and changed parameters to the replicas."""
        first = self.replicas[0]
        parameters = list(first.parameters())
        versions = [version_of(parameter) for parameter in parameters]
        with torch.no_grad():
            for replica in self.replicas[1:]:
                if versions != self._versions:
                    _copy(parameters, list(replica.parameters()))
                _copy(list(first.buffers()), list(replica.buffers()))
                if hasattr(replica, "step_terms"):
                    replica.step_terms = {}  # type: ignore[assignment]
        self._versions = versions

    def backward(self, closure_loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Run backward through all replicas and add up their gradients on the first device."""
        module = self.lightning_module
        assert module is not None
        self.pre_backward(closure_loss)
        closure_loss = self.precision_plugin.pre_backward(closure_loss, module)
        self.precision_plugin.backward(closure_loss, module, optimizer, *args, **kwargs)
        for replica in self.replicas[1:]:
            self.add_gradients(module, replica)
        closure_loss = self.precision_plugin.post_backward(closure_loss, module)
        self.post_backward(closure_loss)
        return closure_loss

    def add_gradients(self, module: nn.Module, replica: nn.Module) -> None:
        """Move the gradients of a replica to the module's."""
        for own, other in zip(module.parameters(), replica.parameters(), strict=True):
            if other.grad is None:
                continue
            moved = other.grad.to(self.root_device)
            own.grad = moved if own.grad is None else own.grad.add_(moved)
            other.grad = None


def split(batch: Any, parts: int) -> list[Any]:
    """Cut a batch into at most ``parts`` chunks of equal size; the last one may be smaller.

    Raises:
        ConfigError: the batch cannot be cut.
    """
    if not isinstance(batch, Divisible):
        raise ConfigError(
            f"strategy=dp: a batch of type {type(batch).__name__} cannot be divided (see lab.strategies.dp.Divisible)"
        )
    size = max(1, -(-batch.num_samples // parts))
    return [batch.rows(slice(first, first + size)) for first in range(0, max(1, batch.num_samples), size)]


def _begin_thread() -> None:
    torch.set_num_threads(1)  # applies to this thread: replicas on CPUs share the cores as processes would


def _surroundings(device: str) -> Callable[[], ExitStack]:
    """Return a function that applies this thread's settings of gradients and autocast in another thread."""
    grad, enabled = torch.is_grad_enabled(), torch.is_autocast_enabled(device)
    dtype, cached = torch.get_autocast_dtype(device), torch.is_autocast_cache_enabled()

    def enter() -> ExitStack:
        stack = ExitStack()
        stack.enter_context(torch.set_grad_enabled(grad))
        stack.enter_context(torch.autocast(device, dtype, enabled, cached))
        return stack

    return enter


def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source, non_blocking=True)


def _add_terms(module: pl.LightningModule, replica: pl.LightningModule, device: torch.device) -> None:
    """Add a replica's ``step_terms`` to the module's."""
    terms: Mapping[str, Tensor] = getattr(replica, "step_terms", {})
    if terms:
        total: dict[str, Tensor] = module.step_terms  # type: ignore[assignment]
        moved = {name: value.to(device) for name, value in terms.items()}
        module.step_terms = {**total, **{name: total[name] + value for name, value in moved.items()}}  # type: ignore[assignment]
