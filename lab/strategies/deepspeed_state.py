"""Writes and restores a training under ZeRO, in the checkpoint format that all strategies share.

DeepSpeed joins a rank's parts of all parameters of a group into one flat tensor, and the optimizer knows only the flat
tensors. Optimizer states that do not exist yet are created here, so that restoring needs no optimizer step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lab.checkpoint.access import StateAccess, parameter_names, tensors_of
from lab.checkpoint.format import CheckpointReader, Piece
from lab.compat.deepspeed import HeldShare, held, is_split, is_whole, shape_of, shares
from lab.errors import CheckpointError


class ZeroState(StateAccess):
    """Access to a module and deepspeed's optimizer of stage 2 or 3; parameters are float32 under every precision."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[tuple[int, ...], int | None]] = {}

    def pieces(self, module: nn.Module, optimizer: Any) -> dict[str, Piece]:
        """Return what this rank writes: runs of the flattened parameters and states."""
        found = {}
        for name, tensor in tensors_of(module).items():
            if is_split(tensor):
                part, start = held(tensor)
                found[f"model/{name}"] = Piece(part, shape_of(tensor), start)
            else:
                found |= {f"model/{name}": _of_first_rank(tensor)}
        if optimizer is None:
            return found
        names = _names(module)
        for share in shares(optimizer):
            name, shape = names[id(share.parameter)], shape_of(share.parameter)
            for key, value in optimizer.optimizer.state.get(share.flat, {}).items():
                if value is None:
                    continue
                if not isinstance(value, Tensor) or (value.shape != share.flat.shape and value.numel() != 1):
                    kind = type(optimizer.optimizer).__name__
                    raise CheckpointError(f"{kind} keeps {key!r} in a form that ZeRO cannot split into parameters")
                split = value.shape == share.flat.shape and key != "step"
                piece = Piece(share.of(value), shape, share.start) if split else _of_first_rank(value.clone())
                found[f"optimizer/{name}/{key}"] = piece
        return found

    @torch.no_grad()
    def restore(self, reader: CheckpointReader, module: nn.Module, optimizer: Any) -> None:
        """Fill parameters, buffers and the optimizer's states, as ``StateAccess.restore`` does."""
        own = tensors_of(module)
        self.compare(reader, {f"model/{name}": shape_of(tensor) for name, tensor in own.items()}, "model/")
        for name, tensor in own.items():
            if is_split(tensor):
                part, start = held(tensor)
                part.copy_(reader.read_flat(f"model/{name}", start, start + part.numel()))
            else:
                tensor.copy_(reader.read(f"model/{name}"))
        self.changed(module)
        if optimizer is not None:
            for share in shares(optimizer):
                self._to_master(share)
            self._restore_states(reader, module, optimizer)

    @staticmethod
    def compare(reader: CheckpointReader, here: Mapping[str, tuple[int, ...]], prefix: str) -> None:
        """Raise a ``CheckpointError`` unless the checkpoint has exactly these tensors under ``prefix``."""
        there = set(reader.names(prefix))
        for name in sorted(there ^ here.keys()):
            what = "lacks" if name in here else "has, and the network has not,"
            raise CheckpointError(f"{reader.path} does not fit: it {what} {name.removeprefix(prefix)}")
        for name, shape in here.items():
            if reader.shape(name) != shape:
                raise CheckpointError(
                    f"{reader.path} does not fit: {name} is {list(reader.shape(name))} there and {list(shape)} here"
                )

    @staticmethod
    def _to_master(share: HeldShare) -> None:
        """Copy parameters to the optimizer's memory, if that is separate."""
        if not share.count:
            return
        if is_split(share.parameter):
            source = held(share.parameter)[0]
        else:
            source = share.parameter.detach().reshape(-1)[share.start : share.start + share.count]
        if share.of(share.flat).data_ptr() != source.data_ptr():
            share.of(share.flat).copy_(source)

    def _restore_states(self, reader: CheckpointReader, module: nn.Module, optimizer: Any) -> None:
        names = _names(module)
        saved: dict[str, list[str]] = {}
        for full in reader.names("optimizer/"):
            name, _, key = full.removeprefix("optimizer/").rpartition("/")
            saved.setdefault(name, []).append(key)
        for share in shares(optimizer):
            name = names[id(share.parameter)]
            for key in saved.pop(name, []):
                full = f"optimizer/{name}/{key}"
                self._fill_state(reader, full, share, optimizer.optimizer.state[share.flat])
        if saved:
            raise CheckpointError(f"{reader.path} has optimizer states of {min(saved)}, which is not optimized here")

    @staticmethod
    def _fill_state(reader: CheckpointReader, full: str, share: HeldShare, state: dict[str, Any]) -> None:
        key, dtype = full.rpartition("/")[2], reader.dtype(full)
        if reader.shape(full) == shape_of(share.parameter) and key != "step":
            if not isinstance(state.get(key), Tensor):
                state[key] = torch.zeros_like(share.flat, dtype=dtype, requires_grad=False)
            if share.count:
                share.of(state[key]).copy_(reader.read_flat(full, share.start, share.start + share.count))
            return
        value = reader.read(full)
        if key in state and not torch.equal(state[key].cpu(), value):
            raise CheckpointError(
                f"{reader.path}: {full} is not that of other parameters, and ZeRO keeps one for all of a group"
            )
        state[key] = value

    def groups(self, module: nn.Module, optimizer: Any) -> list[dict[str, Any]]:
        """Return the optimizer's groups as plain data."""
        names = _names(module)
        members: dict[int, list[str]] = {}
        for share in shares(optimizer):
            members.setdefault(share.group, []).append(names[id(share.parameter)])
        groups = enumerate(optimizer.param_groups)
        return [{**group, "params": members.get(number, [])} for number, group in groups]

    def weights(self, module: nn.Module) -> dict[str, Tensor]:
        """Return what this rank holds of each trained parameter, to be read and changed in place.

        After a change call ``changed``.
        """
        found = {}
        for name, parameter in parameter_names(module).items():
            if parameter.requires_grad:
                part, start = held(parameter) if is_split(parameter) else (parameter.detach(), None)
                self._places[name] = shape_of(parameter), start
                found[name] = part
        return found

    def changed(self, module: nn.Module) -> None:
        """Drop the gathered copies of parameters whose parts have been changed."""
        parameters: list[Any] = [parameter for parameter in module.parameters() if is_split(parameter)]
        for parameter in parameters:
            if is_whole(parameter):
                parameter.partition()

    def average_pieces(self, average: Mapping[str, Tensor]) -> dict[str, Piece]:
        """Return the pieces that this rank writes of the averages of ``weights``."""
        pieces = {}
        for name, tensor in average.items():
            shape, start = self._places[name]
            pieces[f"average/{name}"] = _of_first_rank(tensor) if start is None else Piece(tensor, shape, start)
        return pieces

    def restore_average(self, reader: CheckpointReader, average: Mapping[str, Tensor]) -> None:
        """Fill averages of ``weights`` in place."""
        self.compare(reader, {f"average/{name}": self._places[name][0] for name in average}, "average/")
        for name, tensor in average.items():
            start = self._places[name][1]
            if start is None:
                tensor.copy_(reader.read(f"average/{name}"))
            else:
                tensor.copy_(reader.read_flat(f"average/{name}", start, start + tensor.numel()))


def _names(module: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in parameter_names(module).items()}


def _of_first_rank(tensor: Tensor) -> Piece:
    data = tensor.detach() if dist.get_rank() == 0 else torch.empty(0, dtype=tensor.dtype)
    return Piece(data, tuple(tensor.shape), (0,) * tensor.ndim)
