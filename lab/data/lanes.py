"""Session-parallel training: which event of which session stands in which lane at each step.

Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016, section 3.1.1, as the authors'
code walks: B lanes, sessions in a given order, a lane whose session has ended takes the next one at once, and a lane
ends when no session is left. Negatives that all lanes share are drawn in proportion to ``support ** alpha`` (Hidasi and
Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based Recommendations", CIKM 2018, section 3.1).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.errors import ConfigError, DataError
from lab.structures import LaneBatch, LaneTargets

Ints = NDArray[np.integer]
CHUNK = 64
"""Steps whose negatives are drawn together; part of what a seed means."""


@dataclass
class LaneSchedule:
    """An epoch of session-parallel training, T steps of B lanes; every epoch walks alike.

    Attributes:
        current: (T, B) int32: the item of each lane, 0 where the lane has ended.
        following: (T, B) int32: the item that comes next.
        starts: (T, B) bool: a session begins.
    """

    current: Ints
    following: Ints
    starts: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.current)

    @classmethod
    def of_sessions(cls, offsets: Ints, items: Ints, order: Ints, num_lanes: int, at_least: int = 1) -> LaneSchedule:
        """Lay sessions into lanes.

        Args:
            offsets: (S + 1,) where each session begins among ``items``.
            items: (E,) item numbers, sessions one after the other.
            order: the sessions in the order in which lanes take them; one of a single event, after which nothing
                comes, is left out.
            num_lanes: B.
            at_least: stop before the first step with fewer lanes alive.

        Raises:
            DataError: no session has two events, or fewer than ``at_least`` have.
        """
        steps = np.diff(offsets)[order] - 1
        order, steps = order[steps > 0], steps[steps > 0].astype(np.int64)
        if len(order) < at_least:
            raise DataError(f"{len(order)} sessions have two events or more; at least {at_least} are needed")
        begins, lanes = _assign(steps, num_lanes)
        total = int((begins + steps).max())
        within = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)  # step of the session
        cells = (np.repeat(begins, steps) + within) * num_lanes + np.repeat(lanes, steps)
        events = np.repeat(np.asarray(offsets, dtype=np.int64)[:-1][order], steps) + within
        grids = np.zeros((2, total * num_lanes), dtype=np.int32)
        grids[0, cells], grids[1, cells] = items[events], items[events + 1]
        starts = np.zeros(total * num_lanes, dtype=np.bool_)
        starts[cells] = within == 0
        current, following = grids.reshape(2, total, num_lanes)
        enough = int(((current > 0).sum(axis=1) >= at_least).sum())  # lanes only end, none comes back
        return cls(current[:enough], following[:enough], starts.reshape(total, num_lanes)[:enough])


def _assign(steps: Ints, num_lanes: int) -> tuple[Ints, Ints]:
    """Return at which step each session begins, and its lane: the lane that is free first, the lowest of several."""
    begins, lanes = np.empty_like(steps), np.empty_like(steps)
    free = list(range(min(num_lanes, len(steps))))  # step * num_lanes + lane: a heap of plain numbers
    for number, length in enumerate(steps.tolist()):
        when = free[0]
        begins[number], lanes[number] = divmod(when, num_lanes)
        heapq.heapreplace(free, when + length * num_lanes)
    return begins, lanes


class LaneSteps:
    """The batches of session-parallel training, by key (epoch, step * accumulate + micro-batch).

    Args:
        schedule: of an epoch.
        item_counts: (I,) how often each item stands in the training data.
        num_negatives: n, shared by all lanes of a step; 0 leaves the next items of the other lanes.
        alpha: exponent of the counts in the chance of being drawn: 0 uniform, 1 by popularity.
        seed: of the negatives, which are a function of (seed, epoch, step) only.
        accumulate: micro-batches of a step; each takes consecutive lanes.
        rank: this process.
        world_size: number of processes.

    Raises:
        ConfigError: the lanes are not divisible by ranks x accumulation.
        DataError: an item that is to be drawn from has no count.
    """

    def __init__(
        self,
        schedule: LaneSchedule,
        item_counts: Sequence[int] | Ints,
        num_negatives: int = 2048,
        alpha: float = 0.5,
        seed: int = 0,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.num_lanes = schedule.current.shape[1]
        if self.num_lanes % (accumulate * world_size):
            raise ConfigError(
                f"data.batch_size={self.num_lanes} is not divisible by {world_size} ranks x {accumulate} micro-batches"
            )
        self.schedule, self.num_negatives, self.seed = schedule, num_negatives, seed
        self.accumulate, self.rank, self.world_size = accumulate, rank, world_size
        counts = np.asarray(item_counts, dtype=np.float64)
        if not (counts > 0).all():
            raise DataError(f"{int((counts <= 0).sum())} of {len(counts)} items never stand in the training data")
        weights = counts**alpha
        self.support, self.negative_support = counts.astype(np.float32), weights.astype(np.float32)
        self.cumulative = np.cumsum(weights) / weights.sum()
        self.cumulative[-1] = 1.0
        self._chunk: tuple[int, int] = (-1, -1)
        self._steps: list[_Step] = []

    def __len__(self) -> int:
        """Return the number of micro-batches of an epoch."""
        return len(self.schedule) * self.accumulate

    def __getitem__(self, key: tuple[int, int]) -> LaneBatch:
        """Return the micro-batch of this rank for ``(epoch, step * accumulate + micro-batch)``."""
        epoch, number = key
        step, part = divmod(number, self.accumulate)
        if (epoch, step // CHUNK) != self._chunk:
            self._chunk = (epoch, step // CHUNK)
            self._steps = self._prepare(*self._chunk)
        found = self._steps[step % CHUNK]
        share = self.num_lanes // (self.accumulate * self.world_size)
        first = (part * self.world_size + self.rank) * share
        row = slice(first, first + share)
        current, following, starts = (
            grid[step, row] for grid in (self.schedule.current, self.schedule.following, self.schedule.starts)
        )
        alive = np.flatnonzero(current)
        current, following = current[alive], following[alive]
        slots = np.searchsorted(found.sorted_current, current)
        targets = LaneTargets(
            items=found.candidates,
            next_counts=found.next_counts,
            negative_counts=found.negative_counts,
            support=found.support,
            negative_support=found.negative_support,
            positions=torch.from_numpy(np.searchsorted(found.sorted_candidates, following)),
            share=share,
        )
        return LaneBatch(
            items=torch.from_numpy(current.astype(np.int64)),
            lanes=torch.from_numpy(alive + first),
            starts=torch.from_numpy(starts[alive]),
            targets=targets,
            current=found.current,
            slots=torch.from_numpy(slots),
            touched=found.touched,
            touched_slots=torch.from_numpy(found.places[slots]),
            num_lanes=self.num_lanes,
        )

    def negatives(self, epoch: int, chunk: int) -> Ints:
        """Return the negatives (CHUNK, n) int32 of consecutive steps, item numbers."""
        generator = np.random.default_rng((self.seed, epoch, chunk))
        drawn = generator.random((CHUNK, self.num_negatives))
        drawn.sort(axis=1)  # their order means nothing, and ascending ones are found sooner
        return (np.searchsorted(self.cumulative, drawn, side="right") + 1).astype(np.int32)

    def _prepare(self, epoch: int, chunk: int) -> list[_Step]:
        """Find which items stand in each step of a chunk, and how often as what."""
        rows = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        current, following = self.schedule.current[rows], self.schedule.following[rows]
        negatives = self.negatives(epoch, chunk)[: len(current)]
        return [self.gather(*parts) for parts in zip(current, following, negatives, strict=True)]

    def gather(self, current: Ints, following: Ints, negatives: Ints) -> _Step:
        """Return the items of a step, each once.

        Args:
            current: (B,) the item of each lane, 0 where it has ended.
            following: (B,) what comes next.
            negatives: (n,) in any order.
        """
        alive = current > 0
        current, following = np.unique(current[alive]), following[alive]
        candidates = np.sort(np.concatenate([following, negatives]))
        first = np.flatnonzero(np.diff(candidates, prepend=0))  # item numbers begin at 1
        counts = np.diff(first, append=len(candidates))
        candidates = candidates[first]
        nexts = np.bincount(np.searchsorted(candidates, following), minlength=len(candidates))
        places = np.searchsorted(candidates, current)
        absent = candidates[np.minimum(places, len(candidates) - 1)] != current
        places[absent] = len(candidates) + np.arange(np.count_nonzero(absent))
        touched = torch.from_numpy(np.concatenate([candidates, current[absent]]).astype(np.int64))
        return _Step(
            sorted_current=current,
            places=places,
            current=torch.from_numpy(current.astype(np.int64)),
            sorted_candidates=candidates,
            candidates=touched[: len(candidates)],
            touched=touched,
            next_counts=torch.from_numpy(nexts.astype(np.float32)),
            negative_counts=torch.from_numpy((counts - nexts).astype(np.float32)),
            support=torch.from_numpy(self.support[candidates - 1]),
            negative_support=torch.from_numpy(self.negative_support[candidates - 1]),
        )


@dataclass
class _Step:
    """The items of a step, see ``LaneBatch`` and ``LaneTargets``; ``places`` are those of ``current`` in ``touched``."""

    sorted_current: Ints
    places: Ints
    current: Tensor
    sorted_candidates: Ints
    candidates: Tensor
    touched: Tensor
    next_counts: Tensor
    negative_counts: Tensor
    support: Tensor
    negative_support: Tensor


class LaneBatches:
    """Lists of one key of ``LaneSteps`` each, one for each micro-batch of this rank, from any optimizer step on.

    Args:
        steps: which batches there are.
        max_steps: the optimizer step to stop at.
        start_step: the optimizer step to begin at, as a resume does.
        limit: steps of an epoch to use, the first ones; None for all.
    """

    def __init__(self, steps: LaneSteps, max_steps: int, start_step: int = 0, limit: int | None = None) -> None:
        self.max_steps, self.start_step, self.accumulate = max_steps, start_step, steps.accumulate
        self.steps_per_epoch = min(len(steps.schedule), limit or len(steps.schedule))

    def __len__(self) -> int:
        """Return the number of micro-batches from ``start_step`` to ``max_steps``."""
        return max(0, self.max_steps - self.start_step) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the key of each micro-batch."""
        return self.from_step(self.start_step)

    def from_step(self, first: int) -> Iterator[list[tuple[int, int]]]:
        """Yield the key of each micro-batch from the optimizer step ``first`` on."""
        for step in range(first, self.max_steps):
            epoch, number = divmod(step, self.steps_per_epoch)
            for part in range(self.accumulate):
                yield [(epoch, number * self.accumulate + part)]


def only(samples: Sequence[LaneBatch]) -> LaneBatch:
    """Return the one batch of a list: what collates ``LaneSteps``."""
    (batch,) = samples
    return batch
