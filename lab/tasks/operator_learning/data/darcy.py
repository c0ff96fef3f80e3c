"""``data=darcy``: from the permeability of a square to the pressure in it, once: a steady problem.

-div (a grad u) = f on a square, u = 0 on its boundary.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lab.data.holdout import TRAIN, check_shares
from lab.errors import DataError
from lab.ranges import Ge, Le, OneOf, Share, Word
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.data.files import (
    FieldArray,
    hash_of,
    hdf5_shape,
    is_hdf5,
    read_hdf5,
    read_pt,
    stride_to,
)
from lab.tasks.operator_learning.data.held_out import split_solutions
from lab.tasks.operator_learning.data.module import FieldDataModule
from lab.tasks.operator_learning.data.samples import FieldSample
from lab.tasks.operator_learning.data.seeds import sample_random

Resolution = Annotated[int, Ge(4), Le(65536)]
Boundary = Annotated[str, OneOf("first", "both", "none")]


class DarcyPairs(NamedTuple):
    """Coefficients and solutions.

    Attributes:
        given: (N, 1, H, W) float32.
        solved: likewise.
        source: the file, for messages.
    """

    given: Tensor
    solved: Tensor
    source: str

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.given)

    def take(self, rows: list[int]) -> DarcyPairs:
        """Return some of them."""
        return DarcyPairs(self.given[rows], self.solved[rows], self.source)


class DarcyDataset:
    """Coefficients and solutions as a ``KeyedDataset``.

    Args:
        pairs: see there.
        boundary: see ``DarcyDataModule``.
        forcings: (1, F, H, W) of every sample; None.
        seed: of the symmetries; None: samples are not moved.
    """

    aspect_ratios = None

    def __init__(self, pairs: DarcyPairs, boundary: str, forcings: Tensor | None, seed: int | None) -> None:
        self.pairs, self.boundary, self.forcings, self.seed = pairs, boundary, forcings, seed

    def __len__(self) -> int:
        """The number of samples."""
        return self.pairs.num_samples

    def __getitem__(self, key: tuple[int, int]) -> FieldSample:
        """Return the sample for ``(epoch, index)``, in training moved by a symmetry of the square."""
        given, solved = self.pairs.given[key[1]], self.pairs.solved[key[1]]
        if self.seed is not None:
            symmetry = int(sample_random(self.seed, TRAIN, *key).integers(8))
            given, solved = (moved(fields, symmetry, self.boundary) for fields in (given, solved))
        return FieldSample(given, solved[None], key[1], self.forcings)

    def fingerprint(self) -> str:
        """Return a hash of the samples and of how they are moved."""
        how = f"{self.boundary}:{self.forcings is not None}:{self.seed}"
        values = hash_of(self.pairs.given.numpy(), self.pairs.solved.numpy())
        return hashlib.sha256(f"{values}{how}".encode()).hexdigest()


def moved(fields: Tensor, symmetry: int, boundary: str) -> Tensor:
    """Return fields (..., H, W) moved by one of the eight symmetries of the square.

    Args:
        fields: of a square grid.
        symmetry: 0 to 7: bit 0 mirrors the rows, bit 1 the columns, bit 2 transposes; 0 changes nothing.
        boundary: see ``DarcyDataModule``; where only the first point of an axis is on the boundary, it stays there.
    """
    for bit, axis in ((1, -2), (2, -1)):
        if symmetry & bit:
            fields = fields.flip(axis)
            fields = fields.roll(1, axis) if boundary == "first" else fields
    return fields.transpose(-1, -2) if symmetry & 4 else fields


def sine_coordinates(grid: tuple[int, ...], boundary: str) -> Tensor:
    """Return (1, 2, H, W): for each axis the sine that is 0 on the boundary and 1 in the middle, from -1 to 1."""
    axes = []
    for points in grid:
        number = torch.arange(points, dtype=torch.float64)
        place = {"first": number / points, "both": number / (points - 1), "none": (number + 0.5) / points}[boundary]
        axes.append(2 * (math.pi * place).sin() - 1)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None].float()


def _without_channel(array: FieldArray) -> FieldArray:
    """Return (N, H, W) for (N, 1, H, W); any other array as it is."""
    return array[:, 0] if array.ndim == 4 and array.shape[1] == 1 else array


@dataclass(eq=False)
class DarcyDataModule(FieldDataModule):
    """``data=darcy``: coefficients and solutions in neuralop's ``.pt`` files or PDEBench's ``.hdf5``.

    A ``.pt`` has the coefficient ``x`` and the solution ``y``, (N, H, W) each; an ``.hdf5`` has ``nu`` (N, H, W) and
    ``tensor`` (N, 1, H, W).

    Args:
        root: the folder that files are relative to.
        train: the file to train on.
        test: to test on; None: ``test_share`` of the training file.
        resolution: points of each axis to train and validate on, of those that the file has every n-th; None: all.
        test_resolution: of the test, likewise.
        val_share: share of the training file to validate on.
        test_share: share of the training file to test on, where there is no file for it.
        symmetries: whether training samples are moved by a random symmetry of the square, which the equation has.
        boundary: which points of an axis are on the boundary: ``first`` (neuralop's: i / n), ``both`` (i / (n - 1)),
            ``none`` (PDEBench's: (i + 1/2) / n).
        coordinates: whether the network also reads where a point is, as two channels.

    Raises:
        ConfigError: a share is out of range.
    """

    root: Word
    train: Word
    _: KW_ONLY
    test: Word | None = None
    resolution: Resolution | None = None
    test_resolution: Resolution | None = None
    val_share: Share = 0.1
    test_share: Share = 0.1
    symmetries: bool = True
    boundary: Boundary = "first"
    coordinates: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shares(self.val_share, self.test_share if self.test is None else None)

    @cached_property
    def _parts(self) -> dict[str, DarcyPairs]:
        """The samples of every split."""
        resolutions, shares = (self.resolution, self.test_resolution), (self.val_share, self.test_share)
        return split_solutions(self._read, self.train, self.test, resolutions, shares, self.seed)

    def _read(self, name: str, points: int | None, key: str) -> DarcyPairs:
        """Return the samples of a file, as many points of each axis as are asked for."""
        path = Path(self.root, name)
        if is_hdf5(path):
            step = stride_to(hdf5_shape(path, "nu")[-1], points, path, key)
            found = read_hdf5(path, ("nu", "tensor"), {"nu": (step, step), "tensor": (step, step)})
            given, solved = (_without_channel(array) for array in found.values())
        else:
            given, solved = (_without_channel(array) for array in read_pt(path, ("x", "y")).values())
            step = stride_to(given.shape[-1], points, path, key)
            given, solved = given[..., ::step, ::step], solved[..., ::step, ::step]
        if given.ndim != 3 or given.shape != solved.shape or given.shape[1] != given.shape[2]:
            raise DataError(
                f"{path}: coefficients of the shape {given.shape} and solutions of {solved.shape}: both should be "
                "(N, n, n), of equal N and n"
            )
        first, second = (torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for array in (given, solved))
        return DarcyPairs(first[:, None], second[:, None], str(path))

    @cached_property
    def own_spec(self) -> FieldSpec:
        """The coefficient ``a`` is given, the solution ``u`` is predicted; neither has a unit."""
        train = self._parts[TRAIN]
        given, solved = train.given.double(), train.solved.double()
        for what, fields in (("coefficient", given), ("solution", solved)):
            if not fields.std() > 0:
                raise DataError(f"{train.source}: the {what} is the same number everywhere; there is nothing to learn")
        return FieldSpec(
            input_shape=(1, *train.given.shape[2:]),
            channels=("u",),
            units=("",),
            means=(float(solved.mean()),),
            stds=(float(solved.std()),),
            given=("a",),
            given_means=(float(given.mean()),),
            given_stds=(float(given.std()),),
            forcings=("sine of x", "sine of y") if self.coordinates else (),
            num_samples=len(train.given),
        )

    def build(self, split: str) -> DarcyDataset:
        """Return the samples of a split."""
        pairs = self._parts[split]
        seed = self.seed if split == TRAIN and self.symmetries else None
        return DarcyDataset(pairs, self.boundary, self.known_forcings(tuple(pairs.given.shape[2:]), None), seed)

    def known_forcings(self, grid: tuple[int, ...], time: int | None) -> Tensor | None:
        """Return where the points of a grid are, (1, 2, *grid)."""
        return sine_coordinates(grid, self.boundary) if self.coordinates else None
