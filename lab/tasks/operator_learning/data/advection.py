"""``data=advection``: waves that move at a constant velocity, whose exact solution is known. The embedded default.

u_t + c . grad u = 0 on a periodic unit interval or square: u(x, t) = u(x - c t, 0). A field is a sum of waves, so it is
evaluated exactly at every point and time, without a grid or a step of a solver.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch

from lab.errors import ConfigError
from lab.ranges import Ge, Gt, Le, Len, NonNegative, Positive
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.data.module import FieldDataModule
from lab.tasks.operator_learning.data.samples import FieldSample
from lab.tasks.operator_learning.data.seeds import sample_random
from lab.tasks.operator_learning.data.waves import TURN, Amplitudes, RandomWaves

VERSION = 1
"""The version of the generated data, part of its fingerprint: raised when the data changes."""


@dataclass(frozen=True)
class Advection:
    """The problem and the distribution of its initial fields, which have mean 0 and variance 1.

    Attributes:
        velocity: of each axis, in sides of the domain for a unit of time.
        step: the time between two states.
        waves: the highest wave number of each axis.
        decay: the deviation of a wave falls with its wave number k as ``(1 + |k|^2) ** -decay``.
    """

    velocity: tuple[float, ...]
    step: float
    waves: int
    decay: float

    @cached_property
    def initial(self) -> RandomWaves:
        """The distribution of the initial fields."""
        return RandomWaves(len(self.velocity), self.waves, decay=self.decay)

    def states(
        self, amplitudes: Amplitudes, grid: Sequence[int], times: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the field (T, *grid) at some times, at the points ``i / n`` of each axis."""
        moved, axes = amplitudes[None], len(self.velocity)
        for axis, (numbers, speed) in enumerate(zip(self.initial.wave_numbers, self.velocity, strict=True)):
            turned = np.exp(-1j * TURN * speed * times[:, None] * numbers)
            moved = moved * turned.reshape(len(times), *[-1 if at == axis else 1 for at in range(axes)])
        return self.initial.on_grid(moved, grid)


class AdvectionDataset:
    """Initial fields and what becomes of them; every epoch of training has new ones.

    Args:
        problem: see there.
        grid: the points of each axis.
        steps: S.
        split: ``"train"``, ``"val"`` or ``"test"``.
        length: samples of an epoch.
        seed: another seed gives other fields.
    """

    aspect_ratios = None

    def __init__(
        self, problem: Advection, grid: tuple[int, ...], steps: int, split: str, length: int, seed: int
    ) -> None:
        self.problem, self.grid, self.split, self.length, self.seed = problem, grid, split, length, seed
        self.times = np.asarray(problem.step * np.arange(steps + 1), dtype=np.float64)

    def __len__(self) -> int:
        """The number of samples of an epoch."""
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> FieldSample:
        """Return the sample for ``(epoch, index)``."""
        amplitudes = self.problem.initial.draw(sample_random(self.seed, self.split, *key))
        states = torch.from_numpy(self.problem.states(amplitudes, self.grid, self.times)[:, None])
        return FieldSample(states[0], states[1:], key[1])

    def fingerprint(self) -> str:
        """Return a hash of what decides the fields."""
        parts = (VERSION, self.problem, self.grid, len(self.times), self.split, self.length, self.seed)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(eq=False)
class AdvectionDataModule(FieldDataModule):
    """``data=advection``: waves that move at a constant velocity on a periodic interval or square; exact.

    Args:
        dims: 1 for an interval, 2 for a square.
        resolution: points of each axis.
        test_resolution: points of each axis in the test; None: ``resolution``.
        velocity: of each axis, in sides of the domain for a unit of time; with ``dims=1`` the first counts.
        step: the time between two states.
        waves: the highest wave number of each axis, below half of ``resolution``.
        decay: the deviation of a wave falls with its wave number k as ``(1 + |k|^2) ** -decay``.
        num_train: fields to train on in an epoch.
        num_val: to validate on.
        num_test: to test on.

    Raises:
        ConfigError: there are fewer velocities than ``dims``, or waves that the grid cannot hold.
    """

    _: KW_ONLY
    dims: Annotated[int, Ge(1), Le(2)] = 2
    resolution: Annotated[int, Ge(4), Le(4096)] = 32
    test_resolution: Annotated[int, Ge(4), Le(4096)] | None = None
    velocity: Annotated[Sequence[float], Len(1, 2)] = (0.5, 0.25)
    step: Annotated[float, Gt(0)] = 0.125
    waves: Positive = 4
    decay: NonNegative = 1.0
    num_train: Positive = 2048
    num_val: Positive = 64
    num_test: Positive = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.velocity) < self.dims:
            raise ConfigError(f"data.velocity={list(self.velocity)}: give {self.dims} numbers, one for each axis")
        smallest = min(self.resolution, self.test_resolution or self.resolution)
        if 2 * self.waves >= smallest:
            raise ConfigError(
                f"data.waves={self.waves}: {smallest} points hold waves of number {(smallest - 1) // 2} at most"
            )

    @cached_property
    def problem(self) -> Advection:
        """The problem and its initial fields."""
        velocity = tuple(float(speed) for speed in self.velocity[: self.dims])
        return Advection(velocity, self.step, self.waves, self.decay)

    @property
    def own_spec(self) -> FieldSpec:
        """One channel, ``u``, of mean 0 and deviation 1 by construction."""
        return FieldSpec(
            input_shape=(1, *[self.resolution] * self.dims),
            channels=("u",),
            units=("",),
            means=(0.0,),
            stds=(1.0,),
            step=self.step,
            periodic=tuple(range(self.dims)),
            num_samples=self.num_train,
        )

    def build(self, split: str) -> AdvectionDataset:
        """Return the fields of a split."""
        points = self.test_resolution if split == "test" and self.test_resolution else self.resolution
        length = {"train": self.num_train, "val": self.num_val, "test": self.num_test}[split]
        grid = (points,) * self.dims
        return AdvectionDataset(self.problem, grid, self.steps_of(split), split, length, self.seed)
