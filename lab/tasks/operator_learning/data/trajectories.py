"""Windows of trajectories: a state and the states of the next steps, from trajectories that are longer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from lab.tasks.operator_learning.data.samples import FieldSample


class Trajectories(ABC):
    """N trajectories of T states each."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(N, T)."""

    @abstractmethod
    def states(self, trajectory: int, first: int, count: int) -> Tensor:
        """Return consecutive states (count, C, *grid), in the channels' units."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of the states, or of what decides them."""


class StoredTrajectories(Trajectories):
    """Trajectories in memory.

    Args:
        stored: (N, T, C, *grid).
        fingerprint: of them.
    """

    def __init__(self, stored: Tensor, fingerprint: str) -> None:
        self.stored, self._fingerprint = stored, fingerprint

    @property
    def size(self) -> tuple[int, int]:
        """(N, T)."""
        return len(self.stored), self.stored.shape[1]

    def states(self, trajectory: int, first: int, count: int) -> Tensor:
        """Return consecutive states (count, C, *grid)."""
        return self.stored[trajectory, first : first + count]

    def fingerprint(self) -> str:
        """Return the hash."""
        return self._fingerprint


class WindowDataset:
    """Windows of trajectories as a ``KeyedDataset``.

    Training has a window from each state that has ``steps`` states after it. An evaluation has windows that follow each
    other without an overlap, so that no step is measured twice from neighbouring starts.

    Args:
        trajectories: see there.
        steps: S, below their number of states.
        train: whether it is trained on.
    """

    aspect_ratios = None

    def __init__(self, trajectories: Trajectories, steps: int, train: bool) -> None:
        self.trajectories, self.steps, self.train = trajectories, steps, train
        self.starts: Sequence[int] = range(0, trajectories.size[1] - steps, 1 if train else steps)

    def __len__(self) -> int:
        """The number of windows."""
        return self.trajectories.size[0] * len(self.starts)

    def __getitem__(self, key: tuple[int, int]) -> FieldSample:
        """Return the window for ``(epoch, index)``; the epoch plays no part."""
        trajectory, start = divmod(key[1], len(self.starts))
        states = self.trajectories.states(trajectory, self.starts[start], self.steps + 1)
        return FieldSample(states[0], states[1:], key[1])

    def fingerprint(self) -> str:
        """Return a hash of the states and of the steps."""
        return f"{self.trajectories.fingerprint()}:{self.steps}:{self.train}"
