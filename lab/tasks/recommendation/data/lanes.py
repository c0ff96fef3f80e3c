"""Session-parallel training: assigns the events of sessions to lanes and steps.

Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016, section 3.1.1, as in the
authors' code: there are B lanes; sessions come in a given order; a lane whose session has ended takes the next session
at once, and ends when no session is left. All lanes share negatives, which are drawn in proportion to
``support ** alpha`` (Hidasi and Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based
Recommendations", CIKM 2018, section 3.1).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lab.errors import ConfigError, DataError
from lab.structures import LaneBatch, LaneTargets
from lab.tasks.recommendation.data.lane_items import AnyInts, Chunk, Draw, prepare_chunk

CHUNK = 64
"""The number of steps whose negatives are drawn together; changing it changes the result of a seed."""


@dataclass
class LaneSchedule:
    """An epoch of session-parallel training, T steps of B lanes; the same in every epoch.

    Attributes:
        current: (T, B) int32: the item of each lane, 0 where the lane has ended.
        following: (T, B) int32: the item that comes next.
        starts: (T, B) bool: a session begins.
    """

    current: AnyInts
    following: AnyInts
    starts: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.current)

    @classmethod
    def of_sessions(cls, offsets: AnyInts, items: AnyInts, order: AnyInts, num_lanes: int) -> LaneSchedule:
        """Assign sessions to lanes.

        Args:
            offsets: (S + 1,) where each session begins in ``items``.
            items: (E,) item numbers, sessions one after the other.
            order: the sessions in the order in which lanes take them; sessions with a single event have nothing to
                predict and are left out.
            num_lanes: B.

        Raises:
            DataError: no session has two events.
        """
        steps = np.diff(offsets)[order] - 1
        order, steps = order[steps > 0], steps[steps > 0].astype(np.int64)
        if not len(order):
            raise DataError("no session has two events, so there is nothing to predict")
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
        return cls(current, following, starts.reshape(total, num_lanes))

    def until(self, fewest: int) -> LaneSchedule:
        """Return the steps before the first one with fewer than ``fewest`` active lanes.

        Raises:
            DataError: the very first step has fewer.
        """
        count = int(((self.current > 0).sum(axis=1) >= fewest).sum())  # lanes only end, none starts again
        if not count:
            raise DataError(f"{fewest} sessions of two events or more are needed, or negatives")
        return LaneSchedule(self.current[:count], self.following[:count], self.starts[:count])


def _assign(steps: AnyInts, num_lanes: int) -> tuple[AnyInts, AnyInts]:
    """Return the first step and the lane of each session: the lane that is free first, the lowest of several."""
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
        schedule: the schedule of an epoch.
        item_counts: (I,) how often each item occurs in the training data; an item with count 0 is never drawn.
        num_negatives: n, shared by all lanes of a step. With 0 the only candidates are the next items of the lanes, and
            the epoch ends when a single lane is left.
        alpha: exponent of the counts in the probability of being drawn: 0 uniform, 1 by popularity.
        seed: seed of the negatives, which are a function of (seed, epoch, step) only.
        accumulate: micro-batches per step; each takes consecutive lanes.
        rank: the rank of this process.
        world_size: number of processes.

    Raises:
        ConfigError: the lanes are not divisible by ranks x accumulation.
        DataError: an item of the schedule has no count.
    """

    def __init__(
        self,
        schedule: LaneSchedule,
        item_counts: Sequence[int] | AnyInts,
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
        self.schedule = schedule if num_negatives else schedule.until(2)
        self.num_negatives, self.seed = num_negatives, seed
        self.accumulate, self.rank, self.world_size = accumulate, rank, world_size
        counts = np.asarray(item_counts, dtype=np.float64)
        grids = (schedule.current, schedule.following)
        present = np.bincount(np.concatenate([grid.ravel() for grid in grids]), minlength=len(counts) + 1)[1:] > 0
        if (uncounted := int((counts[present] <= 0).sum())) > 0:
            raise DataError(f"{uncounted} items of the training sessions have no count")
        weights = np.where(counts > 0, np.maximum(counts, 1.0) ** alpha, 0.0)
        self.support, self.negative_support = counts.astype(np.float32), weights.astype(np.float32)
        self.draw = Draw(weights)
        self._share = torch.arange(self.num_lanes // (accumulate * world_size))
        self._key = (-1, -1)
        self._chunk: Chunk | None = None

    def __len__(self) -> int:
        """Return the number of micro-batches of an epoch."""
        return len(self.schedule) * self.accumulate

    def __getitem__(self, key: tuple[int, int]) -> LaneBatch:
        """Return the micro-batch of this rank for ``(epoch, step * accumulate + micro-batch)``."""
        epoch, number = key
        step, part = divmod(number, self.accumulate)
        if self._chunk is None or (epoch, step // CHUNK) != self._key:
            self._key = (epoch, step // CHUNK)
            self._chunk = self.prepare(step // CHUNK, self.negatives(*self._key))
        found, row = self._chunk, step % CHUNK
        share = len(self._share)
        first = (part * self.world_size + self.rank) * share
        lanes = slice(first, first + share)
        grids = (found.items, found.slots, found.touched_slots, found.positions, found.starts)
        chosen, alive = [grid[row, lanes] for grid in grids], self._share
        if not self.schedule.current[step, lanes].all():
            alive = torch.from_numpy(np.flatnonzero(self.schedule.current[step, lanes]))
            chosen = [grid[alive] for grid in chosen]
        candidates = slice(*found.candidate_ends[row : row + 2])
        targets = LaneTargets(
            items=found.candidates[candidates],
            next_counts=found.next_counts[candidates],
            negative_counts=found.negative_counts[candidates],
            support=found.support[candidates],
            negative_support=found.negative_support[candidates],
            positions=chosen[3],
            share=share,
        )
        current = found.current[slice(*found.current_ends[row : row + 2])]
        rest = found.rest[slice(*found.rest_ends[row : row + 2])]
        return LaneBatch(
            items=chosen[0],
            lanes=alive + first,
            starts=chosen[4],
            targets=targets,
            current=current,
            slots=chosen[1],
            touched=torch.cat([targets.items, rest]),
            touched_slots=chosen[2],
            num_lanes=self.num_lanes,
        )

    def negatives(self, epoch: int, chunk: int) -> AnyInts:
        """Return the negatives (CHUNK, n) int64 of consecutive steps, as item numbers."""
        generator = np.random.default_rng((self.seed, epoch, chunk))
        return self.draw(generator.random((CHUNK, self.num_negatives))) + 1

    def prepare(self, chunk: int, negatives: AnyInts) -> Chunk:
        """Return the items of the steps from ``chunk * CHUNK`` on, given their negatives (CHUNK, n)."""
        rows, lanes = slice(chunk * CHUNK, (chunk + 1) * CHUNK), self.schedule
        current = lanes.current[rows]
        return prepare_chunk(
            current,
            lanes.following[rows],
            lanes.starts[rows],
            negatives[: len(current)],
            self.support,
            self.negative_support,
        )


class LaneBatches:
    """Yields a list with one key of ``LaneSteps`` for each micro-batch of this rank, from any optimizer step on.

    Args:
        steps: the batches of an epoch.
        max_steps: the optimizer step to stop at.
        start_step: the optimizer step to begin at, for a resume.
        limit: the number of steps of an epoch to use, the first ones; None for all.
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
    """Return the only batch in a list: the collate function of ``LaneSteps``."""
    (batch,) = samples
    return batch
