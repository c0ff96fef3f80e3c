"""Loaders: the stream of training micro-batches, with the normalisers of their whole optimizer step; evaluation."""

from __future__ import annotations

import itertools
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from lab.data.sampler import EvalBatches, TrainBatches
from lab.structures import KeyedDataset

BatchT = TypeVar("BatchT")
Totals = Callable[[Any], Mapping[str, float]]
Reduce = Callable[[Mapping[str, float]], Mapping[str, float]]


class TrainStream(Generic[BatchT]):
    """The micro-batches of a run, from its current step to its last step.

    Each micro-batch carries in ``totals`` the normalisers of its whole optimizer step. The loader reads the whole step
    in advance, so they are known before its first micro-batch is processed; ``reduce`` adds them up over ranks.
    ``at_step`` adds what depends on the optimizer step to a micro-batch.
    """

    def __init__(
        self,
        dataset: KeyedDataset,
        batches: TrainBatches,
        collate: Callable[[Sequence[Any]], BatchT],
        totals: Totals | None,
        num_workers: int,
        pin_memory: bool,
        repeat: int = 0,
        reduce: Reduce = dict,
        at_step: Callable[[BatchT, int], BatchT] | None = None,
    ) -> None:
        self.batches, self.totals, self.repeat, self.reduce = batches, totals, repeat, reduce
        self.at_step = at_step
        self.loader = _loader(
            dataset, _Repeated(batches, repeat) if repeat else batches, collate, num_workers, pin_memory
        )

    def __len__(self) -> int:
        """Return the number of remaining micro-batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[BatchT]:
        """Yield micro-batches."""
        source = iter(self.loader)
        steps = itertools.count(self.batches.start_step)
        while group := list(itertools.islice(source, self.batches.accumulate)):
            step = next(steps)
            if self.at_step is not None:
                group = [self.at_step(batch, step) for batch in group]
            totals: Counter[str] = Counter()
            if self.totals is not None:
                for batch in group:
                    totals.update(self.totals(batch))
            summed = dict(self.reduce(totals))
            for batch in group:
                yield replace(batch, totals=summed or None)


class _Repeated:
    """Repeats the batches of the first ``count`` optimizer steps, for ``debug=overfit``."""

    def __init__(self, batches: TrainBatches, count: int) -> None:
        self.batches, self.count = batches, count * batches.accumulate

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first = list(itertools.islice(self.batches.from_step(0), self.count))
        position = self.batches.start_step * self.batches.accumulate  # a resumed run continues within the cycle
        return itertools.islice(itertools.cycle(first), position, position + len(self))


class _Marked(Dataset[tuple[Any, bool]]):
    """A dataset for keys ``(epoch, index, valid)`` that passes ``valid`` on to the collate function."""

    def __init__(self, dataset: KeyedDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int, bool]) -> tuple[Any, bool]:
        epoch, index, valid = key
        return self.dataset[(epoch, index)], valid


class _MarkedCollate:
    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, items: list[tuple[Any, bool]]) -> Any:
        batch = self.collate([sample for sample, _ in items])
        return replace(batch, valid=torch.tensor([valid for _, valid in items]))


def eval_loader(
    dataset: KeyedDataset,
    batches: EvalBatches,
    collate: Callable[[Sequence[Any]], Any],
    num_workers: int,
    pin_memory: bool,
) -> DataLoader[Any]:
    """Return a loader of evaluation batches whose ``valid`` says which samples count."""
    return _loader(_Marked(dataset), batches, _MarkedCollate(collate), num_workers, pin_memory)


def _loader(dataset: Any, batches: Any, collate: Any, num_workers: int, pin_memory: bool) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
        # A generator of its own: the loader's base seed must not be drawn from the training's random numbers.
        generator=torch.Generator(),
        worker_init_fn=_begin_worker if num_workers else None,
    )


def _begin_worker(worker: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C and a scheduler's SIGTERM reach the whole process group. Workers ignore them: the training still needs its
    # next batch; it stops after that and ends its workers.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
