"""Counts the memory that backward needs for a micro-batch, in one forward pass that computes nothing.

The tensors of the pass are fake (``lab.compat.torch.fake_tensors``): they have shapes, types and devices but no values,
so autocast and the choice of kernels are those of the real device. A network that reads values is run once for real, on
the CPU.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lab.compat.torch import fake_tensors, reads_values, storage_id, tree_leaves

Step = Callable[[nn.Module, Any], None]
"""Runs a module on a batch, the loss included."""

AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
"""The dtype in which autocast computes matrix products, by precision."""
WHOLE = {"bf16-true": torch.bfloat16, "64": torch.float64}
"""The dtype that the network itself is cast to, by precision."""


@dataclass
class Saved:
    """The bytes that autograd has saved, each storage counted once; parameters and buffers are not counted.

    Attributes:
        outside: bytes saved outside of units.
        units: bytes saved in each unit, by its number.
        inputs: bytes of the units' inputs that were not saved already.
    """

    outside: int = 0
    units: dict[int, int] = field(default_factory=dict)
    inputs: int = 0
    _seen: set[int] = field(default_factory=set)
    _came_in: set[int] = field(default_factory=set)
    _held: list[Any] = field(default_factory=list)  # kept alive: the address of a freed storage would be reused
    _inside: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All bytes."""
        return self.outside + sum(self.units.values())

    @property
    def recomputed(self) -> int:
        """The bytes under activation checkpointing: units keep only inputs; backward recomputes one unit at a time."""
        return self.outside + self.inputs + max(self.units.values(), default=0)

    def forget(self, tensors: Sequence[Tensor]) -> None:
        """Do not count these."""
        for tensor in tensors:
            self._new(tensor, self._seen)

    def pack(self, tensor: Tensor) -> Tensor:
        """Count a tensor that autograd saves."""
        size = self._new(tensor, self._seen)
        if self._inside:
            self.units[self._inside[0]] = self.units.get(self._inside[0], 0) + size
        else:
            self.outside += size
        return tensor

    def enter(self, number: int, args: Any) -> None:
        """A unit begins."""
        if not self._inside:
            for leaf in tree_leaves(args):
                if isinstance(leaf, Tensor):
                    self.inputs += self._new(leaf, self._came_in)
        self._inside.append(number)

    def leave(self) -> None:
        """A unit ends."""
        self._inside.pop()

    def _new(self, tensor: Tensor, seen: set[int]) -> int:
        try:
            storage, number = tensor.untyped_storage(), storage_id(tensor)
        except NotImplementedError:  # sparse tensors have none
            return 0
        if number in seen:
            return 0
        seen.add(number)
        self._held.append(storage)
        return storage.nbytes()


class _Wrapped(nn.Module):
    """Gives ``functional_call`` a module whose forward runs the whole step."""

    def __init__(self, module: nn.Module, step: Step) -> None:
        super().__init__()
        self.module, self.step = module, step

    def forward(self, batch: Any) -> None:
        self.step(self.module, batch)


def count_saved(
    module: nn.Module, step: Step, batch: Any, device: torch.device, precision: str, units: Sequence[nn.Module] = ()
) -> Saved:
    """Count the bytes that a forward pass saves for backward; ``module``, buffers and random states do not change.

    The pass runs on a copy of the module that shares its parameters, since modules may keep state from call to call.

    Args:
        module: its parameters may be on any device, the meta device for instance.
        step: runs the module on the batch.
        batch: host tensors, a ``lab.structures.Movable``.
        device: the device that the training would run on.
        precision: Lightning's name, ``bf16-mixed`` for instance.
        units: modules of the network whose bytes are counted separately.
    """
    copies: dict[int, Any] = {id(tensor): tensor for tensor in [*module.parameters(), *module.buffers()]}
    module = copy.deepcopy(module, copies)
    units = [copies[id(unit)] for unit in units]
    dtype = WHOLE.get(precision)
    if dtype is not None:
        batch = batch._map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
    mode = fake_tensors()
    with mode:
        fake = batch._map(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device))
        tensors = _tensors(
            module, precision, lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        )
    try:
        with mode:
            return _count(module, step, fake, tensors, device, precision, units)
    except (RuntimeError, TypeError) as error:
        if not reads_values(error):
            raise
        tensors = _tensors(module, precision, _copied)
        return _count(module, step, batch, tensors, torch.device("cpu"), precision, units)


def _copied(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor, device="cpu") if tensor.is_meta else tensor.detach().cpu().clone()


def _tensors(module: nn.Module, precision: str, make: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Return the substitutes for a module's parameters and buffers in a precision."""
    dtype = WHOLE.get(precision)
    found = {}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        made = make(tensor)
        made = made.to(dtype) if dtype and made.is_floating_point() else made
        found[f"module.{name}"] = made.requires_grad_(tensor.requires_grad)
    return found


def _count(
    module: nn.Module,
    step: Step,
    batch: Any,
    tensors: dict[str, Tensor],
    device: torch.device,
    precision: str,
    units: Sequence[nn.Module],
) -> Saved:
    saved = Saved()
    saved.forget(list(tensors.values()))
    for number, unit in enumerate(units):
        unit.register_forward_pre_hook(lambda _, args, n=number: saved.enter(n, args))
        unit.register_forward_hook(lambda *_: saved.leave(), always_call=True)
    dtype = AUTOCAST.get(precision)
    autocast = torch.autocast(device.type, dtype) if dtype else nullcontext()
    generator, default = torch.get_rng_state(), torch.get_default_dtype()
    module.train()
    torch.set_default_dtype(WHOLE.get(precision, default))
    try:
        with torch.enable_grad(), autocast, torch.autograd.graph.saved_tensors_hooks(saved.pack, _same):
            torch.func.functional_call(_Wrapped(module, step), tensors, (batch,))
    finally:
        torch.set_default_dtype(default)
        torch.set_rng_state(generator)
    return saved


def _same(tensor: Tensor) -> Tensor:
    return tensor
