"""Chooses the samples of each batch: a pure function of (seed, epoch, position), so a resume needs no worker state.

``data.batch_size`` is the global batch size. Each optimizer step takes the next global batch in the epoch's order; rank
r takes its share of each accumulated micro-batch. The last incomplete global batch of an epoch is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from lab.errors import ConfigError, DataError

Key = tuple[int, int]
EvalKey = tuple[int, int, bool]


class TrainBatches:
    """Lists of ``(epoch, index)`` keys, one for each micro-batch of this rank, from any optimizer step on.

    Args:
        length: samples in an epoch.
        batch_size: the global batch size.
        seed: decides the order.
        max_steps: the optimizer step to stop at.
        start_step: the optimizer step to begin at, for a resume.
        accumulate: micro-batches per optimizer step.
        rank: the rank of this process.
        world_size: number of processes.
        aspect_ratios: width / height of each sample; if given, a batch holds only landscapes or only portraits, which
            saves padding.
        weights: the chance of each sample, of any sum; if given, samples are drawn with replacement. The first number
            of a key is then that of the draw, not of the epoch, so that a sample is augmented anew each time.

    Raises:
        ConfigError: the global batch is not divisible by ranks x accumulation.
        DataError: there are fewer samples than in one global batch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        max_steps: int,
        start_step: int = 0,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
        aspect_ratios: Sequence[float] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        if batch_size % (accumulate * world_size):
            raise ConfigError(
                f"data.batch_size={batch_size} is not divisible by {world_size} ranks x {accumulate} micro-batches"
            )
        if length < batch_size:
            raise DataError(
                f"the training set has {length} samples, fewer than data.batch_size={batch_size}; use at most {length}"
            )
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.max_steps, self.start_step = max_steps, start_step
        self.accumulate, self.rank, self.world_size = accumulate, rank, world_size
        self.landscape = None if aspect_ratios is None else torch.tensor(aspect_ratios) >= 1
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.steps_per_epoch = length // batch_size

    def __len__(self) -> int:
        """Return the number of micro-batches from ``start_step`` to ``max_steps``."""
        return max(0, self.max_steps - self.start_step) * self.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield the keys of each micro-batch."""
        return self.from_step(self.start_step)

    def from_step(self, first: int) -> Iterator[list[Key]]:
        """Yield the keys of each micro-batch from the optimizer step ``first`` on."""
        size = self.batch_size // (self.accumulate * self.world_size)
        epoch, order = -1, torch.empty(0, dtype=torch.long)
        for step in range(first, self.max_steps):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = self.epoch_order(epoch)
            batch = order[step % self.steps_per_epoch].view(self.accumulate, self.world_size, size)
            numbers = torch.full((self.batch_size,), epoch)
            if self.weights is not None:
                numbers = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
            own = numbers.view_as(batch)[:, self.rank].tolist()
            for indices, of in zip(batch[:, self.rank].tolist(), own, strict=True):
                yield list(zip(of, indices, strict=True))

    def epoch_order(self, epoch: int) -> torch.Tensor:
        """Return the indices of an epoch's global batches, (steps_per_epoch, batch_size)."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        count = self.steps_per_epoch * self.batch_size
        if self.weights is not None:
            drawn = torch.multinomial(self.weights, count, replacement=True, generator=generator)
            return drawn.view(-1, self.batch_size)
        order = torch.randperm(self.length, generator=generator)
        if self.landscape is None:
            return order[:count].view(-1, self.batch_size)
        wide = self.landscape[order]
        groups = [order[wide], order[~wide]]
        cuts = [len(group) // self.batch_size * self.batch_size for group in groups]
        rest = torch.cat([group[cut:] for group, cut in zip(groups, cuts, strict=True)])
        whole = torch.cat([group[:cut] for group, cut in zip(groups, cuts, strict=True)] + [rest])
        batches = whole[:count].view(-1, self.batch_size)
        return batches[torch.randperm(len(batches), generator=generator)]


class EvalBatches:
    """Lists of ``(0, index, valid)`` keys: every sample once over all ranks, and equally many batches on each rank.

    A rank that runs out of samples repeats sample 0 with ``valid`` False, so that collectives inside of a forward pass
    are called on every rank; metrics leave such samples out. ``limit`` keeps the first batches: a number (int) or a
    share (float) of them, at least one. ``chosen`` are the indices to evaluate; None for all.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        limit: float | int | None = None,
        chosen: Sequence[int] | None = None,
    ) -> None:
        self.indices: Sequence[int] = range(length) if chosen is None else chosen
        self.rank, self.world_size = rank, world_size
        length = len(self.indices)
        self.batch_size = max(1, batch_size // world_size)
        self.rounds = -(-length // (self.batch_size * world_size))
        if limit is not None:
            wanted = max(1, round(self.rounds * limit)) if isinstance(limit, float) else limit
            self.rounds = min(self.rounds, wanted)

    def __len__(self) -> int:
        """Return the number of batches of this rank."""
        return self.rounds

    def __iter__(self) -> Iterator[list[EvalKey]]:
        """Yield the keys of each batch."""
        for number in range(self.rounds):
            start = (number * self.world_size + self.rank) * self.batch_size
            keys = [(0, index, True) for index in self.indices[start : start + self.batch_size]]
            # A partly filled batch needs no padding sample; an empty batch needs one for the forward pass.
            yield keys or [(0, 0, False)]


def choose(length: int, most: int | None, seed: int) -> Sequence[int] | None:
    """Return ``most`` random indices below ``length`` in ascending order; None if that would be all of them."""
    if most is None or length <= most:
        return None
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    chosen: list[int] = order[:most].sort().values.tolist()
    return chosen
