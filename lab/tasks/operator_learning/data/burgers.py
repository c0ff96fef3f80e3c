"""``data=burgers``: u_t + u u_x = nu u_xx on a periodic interval, as a series in time or as a map of time and place."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lab.data.holdout import TRAIN, check_shares
from lab.errors import ConfigError, DataError
from lab.ranges import Ge, Gt, Le, Positive, Share, Word
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.data.darcy import Resolution
from lab.tasks.operator_learning.data.files import hash_of, hdf5_shape, is_hdf5, read_hdf5, read_pt, stride_to
from lab.tasks.operator_learning.data.held_out import split_solutions
from lab.tasks.operator_learning.data.module import FieldDataModule
from lab.tasks.operator_learning.data.samples import FieldSample
from lab.tasks.operator_learning.data.trajectories import StoredTrajectories, WindowDataset


class BurgersRuns(NamedTuple):
    """Solutions.

    Attributes:
        states: (N, T, points) float32.
        step: the time between two states; None where the file does not tell.
        source: the file, for messages.
    """

    states: Tensor
    step: float | None
    source: str

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.states)

    def take(self, rows: list[int]) -> BurgersRuns:
        """Return some of them."""
        return self._replace(states=self.states[rows])


class BurgersMaps:
    """Maps of time and place as a ``KeyedDataset``: given the first state, repeated, the T - 1 others are solved for.

    Args:
        states: (N, T, points).
        fingerprint: of them.
    """

    aspect_ratios = None

    def __init__(self, states: Tensor, fingerprint: str) -> None:
        self.states, self._fingerprint = states, fingerprint

    def __len__(self) -> int:
        """N."""
        return len(self.states)

    def __getitem__(self, key: tuple[int, int]) -> FieldSample:
        """Return the sample for ``(epoch, index)``; the epoch plays no part."""
        states = self.states[key[1]]
        return FieldSample(states[:1].expand(len(states) - 1, -1)[None], states[None, None, 1:], key[1])

    def fingerprint(self) -> str:
        """Return the hash."""
        return f"map:{self._fingerprint}"


@dataclass(eq=False)
class BurgersDataModule(FieldDataModule):
    """``data=burgers``: solutions in neuralop's ``.pt`` files or PDEBench's ``.hdf5``.

    A ``.pt`` has ``y`` (N, T, points), whose first state is the initial one; an ``.hdf5`` has ``tensor`` of that shape,
    ``x-coordinate`` (points) and ``t-coordinate`` (T or T + 1).

    Args:
        root: the folder that files are relative to.
        train: the file to train on.
        test: to test on; None: ``test_share`` of the training file.
        dims: 1: a state and the next ones, on the interval; 2: from the first state, repeated, to all others, on the
            rectangle of time and place, which is a steady problem.
        resolution: points to train and validate on, of those that the file has every n-th; None: all.
        test_resolution: of the test, likewise.
        every_step: every so many states of the file are read.
        step: the time between two states that are read; None: as the file says, or 1 from the first to the last.
        val_share: share of the training file to validate on.
        test_share: share of the training file to test on, where there is no file for it.

    Raises:
        ConfigError: a share is out of range.
    """

    root: Word
    train: Word
    _: KW_ONLY
    test: Word | None = None
    dims: Annotated[int, Ge(1), Le(2)] = 1
    resolution: Resolution | None = None
    test_resolution: Resolution | None = None
    every_step: Positive = 1
    step: Annotated[float, Gt(0)] | None = None
    val_share: Share = 0.1
    test_share: Share = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shares(self.val_share, self.test_share if self.test is None else None)

    @cached_property
    def _parts(self) -> dict[str, BurgersRuns]:
        """The solutions of every split."""
        resolutions, shares = (self.resolution, self.test_resolution), (self.val_share, self.test_share)
        return split_solutions(self._read, self.train, self.test, resolutions, shares, self.seed)

    def _read(self, name: str, points: int | None, key: str) -> BurgersRuns:
        """Return the solutions of a file, as many points and states as are asked for."""
        path, step = Path(self.root, name), None
        if is_hdf5(path):
            shape = hdf5_shape(path, "tensor")
            stride = stride_to(shape[-1], points, path, key)
            arrays = read_hdf5(path, ("tensor", "x-coordinate", "t-coordinate"), {"tensor": (self.every_step, stride)})
            states, times = arrays["tensor"], arrays["t-coordinate"]
            if arrays["x-coordinate"].shape != shape[-1:] or times.ndim != 1 or len(times) - shape[-2] not in (0, 1):
                raise DataError(
                    f"{path}: {times.shape} times and {arrays['x-coordinate'].shape} places, and its tensor is {shape}"
                )
            gaps = np.diff(times)
            if len(gaps) == 0 or not np.allclose(gaps, gaps[0], rtol=1e-3) or not gaps[0] > 0:
                raise DataError(f"{path}: its times do not rise in equal steps; a network has one step")
            step = float(gaps.mean()) * self.every_step
        else:
            states = read_pt(path, ("y",))["y"]
            stride = stride_to(states.shape[-1], points, path, key)
            states = states[:, :: self.every_step, ::stride] if states.ndim == 3 else states
        if states.ndim != 3 or states.shape[1] < 2:
            raise DataError(
                f"{path}: solutions of the shape {states.shape}: should be (N, T, points), with T of 2 or more"
            )
        return BurgersRuns(torch.from_numpy(np.ascontiguousarray(states, dtype=np.float32)), step, str(path))

    @cached_property
    def own_spec(self) -> FieldSpec:
        """The solution ``u``; its first state is given where maps are read."""
        train, is_map = self._parts[TRAIN], self.dims == 2
        states = train.states.double()
        if not states[:, 0].std() > 0:
            raise DataError(f"{train.source}: the first state is the same number everywhere; there is nothing to learn")
        count = states.shape[1]
        given = states[:, 0]
        return FieldSpec(
            input_shape=(1, count - 1, states.shape[2]) if is_map else (1, states.shape[2]),
            channels=("u",),
            units=("",),
            means=(float(states.mean()),),
            stds=(float(states.std()),),
            given=("initial u",) if is_map else (),
            given_means=(float(given.mean()),) if is_map else (),
            given_stds=(float(given.std()),) if is_map else (),
            step=0.0 if is_map else self.step or train.step or 1 / (count - 1),
            periodic=(1,) if is_map else (0,),
            num_samples=len(self.dataset(TRAIN)),
        )

    def build(self, split: str) -> WindowDataset | BurgersMaps:
        """Return the windows or maps of a split.

        Raises:
            ConfigError: the trajectories are shorter than a window.
        """
        states = self._parts[split].states
        hashed = hash_of(states.numpy())
        if self.dims == 2:
            return BurgersMaps(states, hashed)
        steps, most = self.steps_of(split), states.shape[1] - 1
        if steps > most:
            name = "train_steps" if split == TRAIN else "eval_steps"
            raise ConfigError(f"data.{name}={steps}: a solution of {self._parts[split].source} has {most} steps")
        return WindowDataset(StoredTrajectories(states[:, :, None], hashed), steps, split == TRAIN)
