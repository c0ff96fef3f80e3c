"""Fields to predict from: the ``.npz`` and ``.npy`` files of ``stage=predict``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lab.data.numpy_arrays import array_names, read_array
from lab.errors import DataError, closest
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.data.checks import require_numbers
from lab.tasks.operator_learning.data.samples import FieldSample

FIELDS, FORCINGS, TIMES = "fields", "forcings", "times"
KnownForcings = Callable[[tuple[int, ...], int | None], Tensor | None]
"""Returns forcings (S, F, *grid), normalised, for a grid and a time; None where they are not known."""


class FieldInputs:
    """States, or given channels of a steady problem, as a ``KeyedDataset``, without targets.

    A file has the fields as the array ``fields`` of an ``.npz``, or as an ``.npy``: (N, C, *grid), or (C, *grid) for
    one; the axis of channels may be left out where C is 1. Where the data has forcings, ``forcings`` (N, S, F, *grid)
    gives them, normalised; ``times`` (N,) are seconds since 1970.

    Args:
        paths: the files; their fields follow each other.
        spec: names the channels.
        known: the forcings that the data itself can tell.

    Raises:
        DataError: a file cannot be read, has no ``fields``, other channels or axes, values that are not finite, lacks
            forcings, or has another grid than the first.
    """

    aspect_ratios = None

    def __init__(self, paths: Sequence[Path], spec: FieldSpec, known: KnownForcings) -> None:
        self._samples: list[FieldSample] = []
        grid: tuple[int, ...] = ()
        for path in paths:
            for fields, forcings, time in _read(path, spec):
                grid = grid or tuple(fields.shape[1:])
                if fields.shape[1:] != grid:
                    raise DataError(f"{path}: its grid is {tuple(fields.shape[1:])}, that of {paths[0]} {grid}")
                if spec.forcings and forcings is None:
                    forcings = known(grid, time)
                    if forcings is None:
                        raise DataError(
                            f"{path}: the network also reads {', '.join(spec.forcings)}; add the array {FORCINGS!r} "
                            f"(N, steps, {len(spec.forcings)}, *grid)"
                        )
                nothing = torch.empty(0, len(spec.channels), *grid)
                self._samples.append(FieldSample(fields, nothing, len(self._samples), forcings, None, time))

    def __len__(self) -> int:
        """The number of fields."""
        return len(self._samples)

    def __getitem__(self, key: tuple[int, int]) -> FieldSample:
        """Return the sample for ``(epoch, index)``; the epoch plays no part."""
        return self._samples[key[1]]


def _read(path: Path, spec: FieldSpec) -> Iterator[tuple[Tensor, Tensor | None, int | None]]:
    """Yield the fields (C, *grid), forcings and time of each sample of a file."""
    names = array_names(path)
    if names and FIELDS not in names:
        found = ", ".join(names[:5]) or "nothing"
        raise DataError(f"{path}: it has no array {FIELDS!r}, but {found}{closest(FIELDS, names)}")
    where = path / FIELDS if names else path
    array = read_array(where)
    require_numbers(array, str(where))
    fields = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    fields = _with_all_axes(fields, spec, str(where))
    forcings = times = None
    if FORCINGS in names and spec.forcings:
        forcings = torch.from_numpy(np.ascontiguousarray(read_array(path / FORCINGS), dtype=np.float32))
        wanted = (len(fields), len(spec.forcings), *fields.shape[2:])
        if forcings.ndim != fields.ndim + 1 or (len(forcings), *forcings.shape[2:]) != wanted:
            raise DataError(
                f"{path / FORCINGS}: its shape is {tuple(forcings.shape)}, and {len(fields)} fields of "
                f"{', '.join(spec.forcings)} are ({wanted[0]}, steps, {', '.join(map(str, wanted[1:]))})"
            )
    if TIMES in names:
        times = read_array(path / TIMES)
        if times.shape != (len(fields),) or times.dtype.kind not in "iu":
            raise DataError(
                f"{path / TIMES}: {times.shape} of {times.dtype}, and times are ({len(fields)},) whole "
                "seconds since 1970"
            )
    for row, state in enumerate(fields):
        yield state, None if forcings is None else forcings[row], None if times is None else int(times[row])


def _with_all_axes(fields: Tensor, spec: FieldSpec, where: str) -> Tensor:
    """Return fields as (N, C, *grid)."""
    channels = spec.given or spec.channels
    axes, count = len(spec.grid), len(channels)
    if count == 1 and fields.ndim == axes + 1 and len(fields) != 1:
        fields = fields[:, None]
    while fields.ndim < axes + 2:
        fields = fields[None]
    if fields.ndim != axes + 2 or fields.shape[1] != count:
        grid = "H, W" if axes == 2 else "points"
        raise DataError(
            f"{where}: its shape is {tuple(fields.shape)}, and fields are (N, {count}, {grid}), with the channels "
            f"{', '.join(channels)}"
        )
    return fields
