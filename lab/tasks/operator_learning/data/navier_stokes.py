"""``data=navier_stokes``: generated two-dimensional flows, as trajectories of their vorticity."""

from __future__ import annotations

import hashlib
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lab.data.loader import TrainStream
from lab.errors import ConfigError
from lab.ranges import Ge, Gt, Le, NonNegative, Positive
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.data.module import FieldDataModule
from lab.tasks.operator_learning.data.seeds import sample_random
from lab.tasks.operator_learning.data.trajectories import Trajectories, WindowDataset
from lab.tasks.operator_learning.data.vorticity import Flow
from lab.tasks.operator_learning.data.waves import TURN, RandomWaves

VERSION = 1
"""The version of the generated data, part of its fingerprint: raised when the data changes."""
BLOCK = 8
"""Trajectories that are solved together: a constant, so that they do not depend on which are asked for."""
SCALE = 7.0 / TURN
DECAY = 1.25
"""Of the initial vorticity: its covariance is ``(-lap + 49)^-2.5``, as that of Li et al. (ICLR 2021)."""


@dataclass(frozen=True)
class FlowProblem:
    """What decides the trajectories.

    Attributes:
        flow: the equation and the solver's grid.
        initial: the distribution of the initial vorticity.
        step: the time between two states.
        solver_steps: of the solver in a step.
        steps: states of a trajectory after the initial one.
        every: every so many points of the solver's grid are kept.
    """

    flow: Flow
    initial: RandomWaves
    step: float
    solver_steps: int
    steps: int
    every: int


class FlowTrajectories(Trajectories):
    """Trajectories of a flow, solved when they are first read and kept in memory as float32.

    Args:
        problem: see there.
        split: ``"train"``, ``"val"`` or ``"test"``.
        count: N.
        seed: another seed gives other initial fields.
    """

    def __init__(self, problem: FlowProblem, split: str, count: int, seed: int) -> None:
        self.problem, self.split, self.count, self.seed = problem, split, count, seed
        self._blocks: dict[int, Tensor] = {}

    @property
    def size(self) -> tuple[int, int]:
        """(N, T)."""
        return self.count, self.problem.steps + 1

    def block(self, number: int) -> Tensor:
        """Return ``BLOCK`` trajectories (BLOCK, T, 1, n, n); the last ones of N may be fewer.

        Raises:
            ConfigError: the solver's step is too long for them.
        """
        if number not in self._blocks:
            rows = range(number * BLOCK, min((number + 1) * BLOCK, self.count))
            self._blocks[number] = self._solve([sample_random(self.seed, self.split, 0, row) for row in rows])
        return self._blocks[number]

    def solve_all(self) -> None:
        """Solve all trajectories, so that processes which are forked afterwards share them."""
        for number in range(-(-self.count // BLOCK)):
            self.block(number)

    def _solve(self, randoms: list[np.random.Generator]) -> Tensor:
        problem, flow = self.problem, self.problem.flow
        drawn = np.stack([problem.initial.draw(random) for random in randoms])
        first = torch.from_numpy(problem.initial.on_grid(drawn, (flow.points, flow.points)))
        vorticity, states = flow.spectrum(first), []
        for step in range(problem.steps + 1):
            if step:
                vorticity = flow.advance(vorticity, problem.step, problem.solver_steps)
            states.append(flow.fields(vorticity)[:, None, :: problem.every, :: problem.every].float())
        found = torch.stack(states, dim=1)
        if not found.isfinite().all():
            raise ConfigError(
                f"data.solver_steps={problem.solver_steps}: a step of {problem.step / problem.solver_steps:g} is too "
                "long for this flow, whose vorticity grows beyond all bounds; take more steps"
            )
        return found

    def states(self, trajectory: int, first: int, count: int) -> Tensor:
        """Return consecutive states (count, 1, n, n)."""
        return self.block(trajectory // BLOCK)[trajectory % BLOCK, first : first + count]

    def fingerprint(self) -> str:
        """Return a hash of what decides the trajectories."""
        parts = (VERSION, self.problem, self.split, self.count, self.seed)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(eq=False)
class NavierStokesDataModule(FieldDataModule):
    """``data=navier_stokes``: two-dimensional flows on a periodic square of side 1, by their vorticity.

    Initial fields and forcing are those of Li et al. (ICLR 2021). A pseudo-spectral solver makes the trajectories in
    float64 (``vorticity.Flow``); with ``seed`` they are the same on every machine up to rounding.

    Args:
        resolution: points of each axis of the fields.
        solver_points: of the solver's grid, a multiple of ``resolution``; None: ``resolution``. Waves up to a third of
            them are solved for.
        viscosity: nu; below 1e-3 the flow has finer structures, which need more points.
        forcing: a in ``f = a (sin 2 pi (x + y) + cos 2 pi (x + y))``.
        initial_deviation: the standard deviation of the initial vorticity.
        step: the time between two states.
        solver_steps: of the solver in a step.
        steps: states of a trajectory after the initial one.
        num_train: trajectories to train on, a window from each state.
        num_val: trajectories to validate on, in windows that do not overlap.
        num_test: to test on, likewise.

    Raises:
        ConfigError: a trajectory is shorter than a window, or the grids do not fit.
    """

    _: KW_ONLY
    resolution: Annotated[int, Ge(8), Le(1024)] = 32
    solver_points: Annotated[int, Ge(8), Le(4096)] | None = None
    viscosity: Annotated[float, Gt(0)] = 1e-3
    forcing: NonNegative = 0.1
    initial_deviation: NonNegative = 0.26
    step: Annotated[float, Gt(0)] = 1.0
    solver_steps: Positive = 10
    steps: Positive = 50
    num_train: Positive = 64
    num_val: Positive = 8
    num_test: Positive = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        points = self.solver_points or self.resolution
        if points % self.resolution:
            raise ConfigError(
                f"data.solver_points={points}: should be a multiple of data.resolution={self.resolution}, so that its "
                "points have those of the fields among them"
            )
        for name in ("train_steps", "eval_steps"):
            if getattr(self, name) > self.steps:
                raise ConfigError(
                    f"data.{name}={getattr(self, name)}: a trajectory has data.steps={self.steps} steps; make it longer"
                )

    @cached_property
    def problem(self) -> FlowProblem:
        """What decides the trajectories."""
        points = self.solver_points or self.resolution
        flow = Flow(points, self.viscosity, self.forcing)
        initial = RandomWaves(2, (points - 1) // 3, SCALE, DECAY, self.initial_deviation)
        return FlowProblem(flow, initial, self.step, self.solver_steps, self.steps, points // self.resolution)

    @cached_property
    def own_spec(self) -> FieldSpec:
        """One channel, the vorticity, whose mean is 0; its deviation is that of the first training trajectories."""
        first = self.dataset("train").trajectories.block(0)
        return FieldSpec(
            input_shape=(1, self.resolution, self.resolution),
            channels=("vorticity",),
            units=("",),
            means=(0.0,),
            stds=(float(first.double().square().mean().sqrt()),),
            step=self.step,
            periodic=(0, 1),
            num_samples=len(self.dataset("train")),
        )

    def build(self, split: str) -> WindowDataset:
        """Return the windows of a split; its trajectories are solved when they are read."""
        count = {"train": self.num_train, "val": self.num_val, "test": self.num_test}[split]
        trajectories = FlowTrajectories(self.problem, split, count, self.seed)
        return WindowDataset(trajectories, self.steps_of(split), split == "train")

    def train_dataloader(self) -> TrainStream[Any]:
        """Return the stream of batches; all trajectories are solved first, before processes are forked."""
        self.dataset("train").trajectories.solve_all()
        return super().train_dataloader()

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation batches, likewise."""
        self.dataset("val").trajectories.solve_all()
        return super().val_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test batches, likewise."""
        self.dataset("test").trajectories.solve_all()
        return super().test_dataloader()
