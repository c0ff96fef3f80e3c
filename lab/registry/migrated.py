"""Checkpoints of earlier versions of a network, read in its present layout (``lab.registry.migrations``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lab.checkpoint.format import CheckpointReader
from lab.errors import CheckpointError
from lab.registry.migrations import RECORD, check_versions, migrate, steps_to


def recorded(reader: CheckpointReader) -> dict[str, int]:
    """Return the versions of the classes of a checkpoint; those of before there were versions record nothing.

    Raises:
        CheckpointError: the record is damaged.
    """
    return check_versions(reader.state.get(RECORD, {}), str(reader.path))


def require_current(reader: CheckpointReader, model: nn.Module) -> None:
    """Refuse a checkpoint whose training is to go on, but whose weights are of other versions.

    Raises:
        CheckpointError: as said.
    """
    steps = steps_to(model, recorded(reader), str(reader.path))
    if steps:
        first = steps[0]
        raise CheckpointError(
            f"{reader.path}: its weights of {first.path} are of version {first.version}. Weights are migrated, but "
            f"optimizer states are not: begin a training from them with ckpt='{reader.path}' resume=never"
        )


class MigratedCheckpoint(CheckpointReader):
    """A checkpoint whose weights are read in another layout than the one that it holds them in.

    Args:
        reader: the checkpoint.
        tensors: its ``model/`` tensors after the migration, by their full names.
    """

    def __init__(self, reader: CheckpointReader, tensors: Mapping[str, Tensor]) -> None:
        vars(self).update(vars(reader))
        self._tensors = dict(tensors)

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the tensors that begin with ``prefix``."""
        others = [name for name in super().names() if not name.startswith("model/")]
        return [name for name in [*others, *self._tensors] if name.startswith(prefix)]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the whole shape of a tensor."""
        return tuple(self._tensors[name].shape) if name in self._tensors else super().shape(name)

    def dtype(self, name: str) -> Any:
        """Return the dtype of a tensor."""
        return self._tensors[name].dtype if name in self._tensors else super().dtype(name)

    def read_block(self, name: str, offset: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
        """Return the block of ``shape`` with the corner ``offset``, on the CPU."""
        if name not in self._tensors:
            return super().read_block(name, offset, shape)
        where = tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
        return self._tensors[name][where].clone()

    def read_flat(self, name: str, start: int, stop: int) -> Tensor:
        """Return the elements ``start`` to ``stop`` of the flattened tensor, on the CPU."""
        if name not in self._tensors:
            return super().read_flat(name, start, stop)
        return self._tensors[name].reshape(-1)[start:stop].clone()


def migrated(reader: CheckpointReader, model: nn.Module) -> CheckpointReader:
    """Return a checkpoint that is read as weights of the present versions; itself, if it has them already.

    Args:
        reader: the checkpoint of a task.
        model: the task that it is for; it may be on the meta device.

    Raises:
        CheckpointError: a step is missing or fails.
    """
    where = str(reader.path)
    steps = steps_to(model, recorded(reader), where)
    if not steps:
        return reader
    state = {name.removeprefix("model/"): reader.read(name) for name in reader.names("model/")}
    found = migrate(state, steps, where)
    return MigratedCheckpoint(reader, {f"model/{key}": value for key, value in found.items()})
