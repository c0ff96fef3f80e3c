"""Moves state between a module with its optimizer and a checkpoint: what each rank writes and restores.

Tensors are named ``model/<key of the state dict>``, ``optimizer/<parameter>/<key of its state>`` and
``average/<parameter>``, without the prefixes of wrappers (DDP, torch.compile).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lab.checkpoint.format import CheckpointReader, Piece
from lab.compat.torch import COMPILED, local_shape_and_offset
from lab.errors import CheckpointError

__all__ = [
    "CheckpointReader",
    "Piece",
    "StateAccess",
    "compare",
    "fill",
    "local_part",
    "parameter_names",
    "piece_of",
    "tensors_of",
]


class StateAccess:
    """Writes and restores the state of a module whose parameters are DTensors, or plain tensors equal on all ranks.

    A strategy that keeps parameters in another form has its own subclass, in its attribute ``state_access``.
    """

    def pieces(self, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Piece]:
        """Return the pieces that this rank writes, by name. Each element is written by one rank only.

        Args:
            module: its parameters and persistent buffers are written.
            optimizer: its state is written too, if given.

        Raises:
            CheckpointError: some state is not a tensor.
        """
        tensors = {f"model/{name}": tensor for name, tensor in tensors_of(module).items()}
        if optimizer is not None:
            for name, parameter, _ in _optimized(module, optimizer):
                for key, value in optimizer.state.get(parameter, {}).items():
                    if value is None:  # the state of SGD without momentum
                        continue
                    if not isinstance(value, Tensor):
                        kind = type(optimizer).__name__
                        raise CheckpointError(
                            f"{kind} keeps {key!r} of {name} as {type(value).__name__}, not as a tensor"
                        )
                    tensors[f"optimizer/{name}/{key}"] = value
        return {name: piece_of(tensor) for name, tensor in tensors.items()}

    def restore(self, reader: CheckpointReader, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        """Restore this rank's part in place; missing optimizer state is created.

        Args:
            reader: reads the checkpoint.
            module: its parameters and persistent buffers are filled.
            optimizer: its state is filled too, if given.

        Raises:
            CheckpointError: names or shapes differ from the checkpoint's.
        """
        own = tensors_of(module)
        compare(reader, module)
        for name, tensor in own.items():
            fill(tensor, reader, f"model/{name}")
        if optimizer is None:
            return
        held: dict[str, list[str]] = {}
        for full in reader.names("optimizer/"):
            name, _, key = full.removeprefix("optimizer/").rpartition("/")
            held.setdefault(name, []).append(key)
        for name, parameter, group in _optimized(module, optimizer):
            for key in held.pop(name, []):
                self._restore_state(reader, f"optimizer/{name}/{key}", parameter, optimizer.state[parameter], group)
        if held:
            raise CheckpointError(f"{reader.path} has optimizer states of {_some(held)}, which is not optimized here")

    @staticmethod
    def _restore_state(
        reader: CheckpointReader, full: str, parameter: Tensor, state: dict[str, Any], group: Mapping[str, Any]
    ) -> None:
        key, shape, dtype = full.rpartition("/")[2], reader.shape(full), reader.dtype(full)
        if not isinstance(state.get(key), Tensor):
            if shape == tuple(parameter.shape) and key != "step":
                state[key] = torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
            elif shape and is_dtensor(parameter):
                raise CheckpointError(f"{reader.path}: {full} {list(shape)} cannot be split like its parameter")
            else:
                # As in torch.optim: step counters are on the host, unless the optimizer is fused or capturable.
                on_device = key != "step" or group.get("capturable") or group.get("fused")
                state[key] = torch.zeros(shape, dtype=dtype, device=parameter.device if on_device else "cpu")
        fill(state[key], reader, full)

    def groups(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        """Return the optimizer's groups as plain data: their options, and the names of their parameters."""
        names = {id(parameter): name for name, parameter in parameter_names(module).items()}
        return [
            {**group, "params": [names[id(parameter)] for parameter in group["params"]]}
            for group in optimizer.param_groups
        ]

    def compare_groups(self, module: nn.Module, optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]]) -> None:
        """Compare the groups with those of a checkpoint; their options stay those of the config, which may be others.

        The rate that a schedule had reached is restored with the schedule; without one the config's holds.

        Raises:
            CheckpointError: the optimizer groups its parameters differently.
        """
        now = self.groups(module, optimizer)
        if [group["params"] for group in now] != [group["params"] for group in groups]:
            raise CheckpointError("the optimizer's groups of parameters are not those of the checkpoint")

    def weights(self, module: nn.Module) -> dict[str, Tensor]:
        """Return this rank's part of the trained parameters, by name.

        They may be changed in place, without a gradient. Afterwards call ``changed``.
        """
        return {name: parameter for name, parameter in parameter_names(module).items() if parameter.requires_grad}

    def changed(self, module: nn.Module) -> None:
        """Must be called after ``weights`` have been changed in place."""

    def average_pieces(self, average: Mapping[str, Tensor]) -> dict[str, Piece]:
        """Return the pieces that this rank writes of averaged parameters, which are split like the parameters."""
        return {f"average/{name}": piece_of(tensor) for name, tensor in average.items()}

    def restore_average(self, reader: CheckpointReader, average: Mapping[str, Tensor]) -> None:
        """Fill averaged parameters in place."""
        _compare(reader, {name.removeprefix("average/") for name in reader.names("average/")}, set(average))
        for name, tensor in average.items():
            fill(tensor, reader, f"average/{name}")


def is_dtensor(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor."""
    found = sys.modules.get("torch.distributed.tensor")  # whoever has made one has imported it, which takes a second
    return found is not None and isinstance(tensor, found.DTensor)


def local_part(tensor: Tensor) -> Tensor:
    """Return this rank's part of a tensor, to be read and written in place."""
    plain = type(tensor) in (Tensor, nn.Parameter) or not is_dtensor(tensor)
    return tensor if plain else tensor.to_local()  # type: ignore[attr-defined]


@torch.no_grad()
def piece_of(tensor: Tensor) -> Piece:
    """Return the piece that this rank writes: all of a plain tensor on rank 0, its own shard of a DTensor."""
    shape = tuple(tensor.shape)
    local, offset, writes = _held(tensor)
    if not writes:
        local = torch.empty(0, dtype=tensor.dtype)
    return Piece(local.detach(), shape, offset)


@torch.no_grad()
def fill(tensor: Tensor, reader: CheckpointReader, name: str) -> None:
    """Copy the tensor ``name`` of a checkpoint, or this rank's shard of it, into ``tensor`` in place.

    Raises:
        CheckpointError: the shapes differ.
    """
    _compare_form(tensor, reader, name)
    local, offset, _ = _held(tensor)
    if local.numel():
        local.copy_(reader.read_block(name, offset, tuple(local.shape)))


def compare(reader: CheckpointReader, module: nn.Module) -> None:
    """Compare a checkpoint with a module: names, shapes, and whether dtypes are floats. The module may be on meta.

    Raises:
        CheckpointError: the module's parameters and persistent buffers are not those of the checkpoint.
    """
    own = tensors_of(module)
    _compare(reader, {name.removeprefix("model/") for name in reader.names("model/")}, set(own))
    for name, tensor in own.items():
        _compare_form(tensor, reader, f"model/{name}")


def _compare_form(tensor: Tensor, reader: CheckpointReader, name: str) -> None:
    if reader.shape(name) != tuple(tensor.shape):
        raise CheckpointError(
            f"{reader.path} does not fit: {name} is {list(reader.shape(name))} there and {list(tensor.shape)} here"
        )
    if reader.dtype(name).is_floating_point != tensor.dtype.is_floating_point:
        raise CheckpointError(f"{reader.path} does not fit: {name} is {reader.dtype(name)} there, {tensor.dtype} here")


def _held(tensor: Tensor) -> tuple[Tensor, tuple[int, ...], bool]:
    """Return this rank's part of a tensor, its corner, and whether this rank writes it."""
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
    if not is_dtensor(tensor):
        return tensor, (0,) * tensor.ndim, rank == 0
    from torch.distributed.tensor import DTensor, Replicate

    assert isinstance(tensor, DTensor)
    mesh, placements = tensor.device_mesh, tensor.placements
    if any(placement.is_partial() for placement in placements):
        raise CheckpointError(f"a tensor placed as {placements} is a sum that has not been taken yet")
    local, coordinate = tensor.to_local(), mesh.get_coordinate()
    shape, offset = local_shape_and_offset(tensor.shape, mesh, placements)
    if coordinate is None:
        return local.new_empty(0), offset, False
    if tuple(local.shape) != tuple(shape):
        raise CheckpointError(f"a tensor placed as {placements} holds {list(local.shape)} instead of {list(shape)}")
    # There are copies along the mesh dimensions that replicate, and in the meshes of other ranks beside this one.
    first = all(
        number == 0
        for number, placement in zip(coordinate, placements, strict=True)
        if isinstance(placement, Replicate)
    )
    return local, tuple(offset), first and bool((mesh.mesh == 0).any())


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and persistent buffers by their names in ``state_dict``, without prefixes of wrappers.

    Raises:
        CheckpointError: the module has other state.
    """
    clean = _cleaner(module)
    found = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{name} is a {type(value).__name__}: only tensors stand in checkpoints")
        found[clean(name)] = value
    return found


def parameter_names(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters by name, without prefixes of wrappers."""
    clean = _cleaner(module)
    return {clean(name): parameter for name, parameter in module.named_parameters()}


def _cleaner(module: nn.Module) -> Any:
    """Return a function that removes the prefixes of DDP and torch.compile from a name."""
    wrappers: dict[Any, str] = {nn.parallel.DistributedDataParallel: "module", nn.DataParallel: "module"}
    prefixes = []
    for name, part in module.named_modules():
        inner = next((inner for kind, inner in wrappers.items() if isinstance(part, kind)), None)
        if inner is None and COMPILED in dict(part.named_children()):
            inner = COMPILED
        if inner is not None:
            prefixes.append((f"{name}." if name else "", f"{inner}."))
    prefixes.sort(key=lambda pair: -len(pair[0]))  # innermost first, while the outer prefixes are still in the names

    def clean(name: str) -> str:
        for outer, inner in prefixes:
            if name.startswith(outer + inner):
                name = outer + name[len(outer) + len(inner) :]
        return name

    return clean


def _optimized(
    module: nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[tuple[str, nn.Parameter, dict[str, Any]]]:
    """Yield name, parameter and group of everything that is optimized."""
    module.state_dict(keep_vars=True)  # makes FSDP's hooks replace gathered parameters by shards
    names = {id(parameter): name for name, parameter in parameter_names(module).items()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) not in names:
                raise CheckpointError(f"the optimizer has a parameter {list(parameter.shape)} that is not the module's")
            yield names[id(parameter)], parameter, group


def _compare(reader: CheckpointReader, there: set[str], here: set[str]) -> None:
    if there - here:
        raise CheckpointError(f"{reader.path} does not fit: it has {_some(there - here)}, which is not here")
    if here - there:
        raise CheckpointError(f"{reader.path} does not fit: it lacks {_some(here - there)}")


def _some(names: Any) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else str(first)
