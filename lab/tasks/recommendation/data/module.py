"""The base of the DataModules of recommendation: splits of sequences, forms of batches, inputs of predictions."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lab.checking import check_choice
from lab.data.datamodule import DataModule, LoadPlan
from lab.errors import DataError
from lab.ranges import Count, Draws, Positive, Probability, Seed
from lab.structures import RecommendationSpec, Table
from lab.tasks.recommendation.data.event_filters import translate
from lab.tasks.recommendation.data.events import Columns, Events, Ints, read_events
from lab.tasks.recommendation.data.lanes import LaneBatches, LaneSchedule, LaneSteps, only
from lab.tasks.recommendation.data.negatives import NegativeSampler
from lab.tasks.recommendation.data.sequences import (
    RowPlace,
    SequenceDataset,
    Sequences,
    all_windows,
    gather,
    last_queries,
    last_windows,
    query_windows,
    whole_prefixes,
)

Batching = Literal["sequences", "lanes"]
Windows = Literal["last", "all"]


@dataclass
class Splits:
    """The splits of a dataset.

    Attributes:
        item_names: the id of each item in the data files, number 1 first.
        train: the training sequences. With ``leave_one_out`` all events of all users; the last events of users in
            ``held_out`` are not trained on.
        val: sequences of which every next item is predicted; None with ``leave_one_out``.
        test: the same for the test.
        held_out: with ``leave_one_out`` the users whose last two events are kept for evaluation; None otherwise.
        steps: rows of a table with what each step of the preprocessing left.
    """

    item_names: tuple[str, ...]
    train: Sequences
    val: Sequences | None = None
    test: Sequences | None = None
    held_out: Ints | None = None
    steps: Table = field(default_factory=list)


@dataclass(eq=False)
class RecommendationDataModule(DataModule):
    """Base of recommendation data: a subclass implements ``read()``, which returns ``Splits``, and ``read_inputs()``.

    It is a dataclass, like its subclasses: each argument is declared once, in the class that uses it.

    Args:
        batch_size: the global batch size: sequences, or lanes.
        num_workers: loader processes per rank.
        seed: seed of the order and the negatives.
        batching: ``"sequences"``: a sample is a sequence, and all its next items are targets; ``"lanes"``: many
            sessions are read in parallel, one event per step (GRU4Rec).
        max_length: the most events of a sequence that are read; None for all.
        num_negatives: the number of items that did not follow, for each position (sequences) or each step (lanes).
        negative_alpha: negatives are drawn in proportion to an item's support to this power; 0 is uniform.
        windows: which events of sequences longer than ``max_length`` are trained on: only the ``"last"`` ones, as
            SASRec's authors do, or ``"all"``, in consecutive windows. Lanes always use all.
    """

    task = "recommendation"
    sample_name = "sequence"

    _: KW_ONLY
    batch_size: Positive = 64
    num_workers: Count = 0
    seed: Seed = 0
    batching: Batching = "sequences"
    max_length: Positive | None = None
    num_negatives: Draws = 0
    negative_alpha: Probability = 0.0
    windows: Windows = "last"

    def __post_init__(self) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)
        check_choice("data.batching", self.batching, ("sequences", "lanes"))
        check_choice("data.windows", self.windows, ("last", "all"))
        self._rows_read: dict[str, dict[str, Any]] = {}
        self._lanes: tuple[tuple[int, int, int], LaneSteps] | None = None  # for a rank, world size and accumulation

    @abstractmethod
    def read(self) -> Splits:
        """Read and split the data; called once."""

    @abstractmethod
    def read_inputs(self, path: Path) -> Events:
        """Read a file of sequences to predict for."""

    @cached_property
    def splits(self) -> Splits:
        """The data, read on first use."""
        return self.read()

    @cached_property
    def item_counts(self) -> Ints:
        """(I,) how often each item occurs in the training data."""
        return np.bincount(self._training.items, minlength=len(self.splits.item_names) + 1)[1:]

    @cached_property
    def _training(self) -> Sequences:
        """The training data, without the events that are held out for evaluation."""
        splits = self.splits
        if splits.held_out is None:
            return splits.train
        lengths = splits.train.lengths.copy()
        lengths[splits.held_out] -= 2
        keep = np.arange(len(splits.train.items)) - np.repeat(splits.train.offsets[:-1], splits.train.lengths)
        chosen = keep < np.repeat(lengths, splits.train.lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Sequences(splits.train.items[chosen], offsets, splits.train.names)

    @property
    def spec(self) -> RecommendationSpec:
        """The description of the data: items with their names and counts."""
        training = self._training
        return RecommendationSpec(
            item_names=tuple(self.splits.item_names),
            item_counts=tuple(self.item_counts.tolist()),
            num_sequences=len(training),
            num_events=len(training.items),
        )

    def read_file(self, path: Path, columns: Columns, steps: Table) -> Events:
        """Read a file of events, begin the table of steps with its size, and note what became of its rows."""
        events = read_events(path, columns)
        report = events.report()
        self._rows_read[path.name] = report
        reasons = [f"{count} {what}" for what, count in (report["left_out"] | report["noted"]).items()]
        used = "all" if report["used"] == report["rows"] else report["used"]
        notes = [f"{report['rows']} rows, {used} used{': ' if reasons else ''}{', '.join(reasons)}"]
        if columns.time:
            notes.append(events.span())
        add_step(steps, path.name, events, "; ".join(notes))
        return events

    def rows_read(self) -> dict[str, dict[str, Any]]:
        """Return for each file that was read the numbers of rows and used rows, and the reasons for the difference."""
        return dict(self._rows_read) if self.splits else {}

    def tables(self) -> dict[str, Table]:
        """Return the table with what each step of the preprocessing left."""
        return {"data": self.splits.steps} if self.splits.steps else {}

    def fingerprint(self) -> str:
        """Return a hash of all splits and names."""
        splits = self.splits
        digest = hashlib.sha256("\n".join(splits.item_names).encode())
        for part in (splits.train, splits.val, splits.test):
            if part is not None:
                digest.update(part.items.tobytes())
                digest.update(part.offsets.tobytes())
        return digest.hexdigest()

    def sequences_of(self, split: str) -> Sequences:
        """Return the whole sequences of a split; with ``leave_one_out`` those up to the item that is predicted."""
        splits = self.splits
        if split == "train":
            return self._training
        if splits.held_out is None:
            found = splits.val if split == "val" else splits.test
            return found or Sequences(np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.object_))
        begins, ends = splits.train.offsets[:-1][splits.held_out], splits.train.offsets[1:][splits.held_out]
        lengths = ends - begins - int(split == "val")
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths) + np.repeat(begins, lengths)
        return Sequences(splits.train.items[places], offsets, splits.train.names[splits.held_out])

    def training_sequences(self) -> tuple[Tensor, Tensor]:
        """Return the items and offsets of the training data."""
        training = self._training
        return torch.from_numpy(training.items), torch.from_numpy(training.offsets)

    def build(self, split: str) -> Any:
        """Return the dataset of a split."""
        if split == "train":
            return self._lane_steps(self.plan) if self.batching == "lanes" else self._train()
        splits = self.splits
        if splits.held_out is not None:
            rows = last_queries(splits.train, splits.held_out, self.max_length, drop_last=int(split == "val"))
            return SequenceDataset(splits.train, rows, splits.held_out, seen=True)
        sequences = splits.val if split == "val" else splits.test
        if sequences is None or not len(sequences):
            raise DataError(f"there are no sequences to {'validate' if split == 'val' else 'test'} on")
        rows, owners = query_windows(sequences, self.max_length)
        # Validation draws its own negatives, for its loss.
        return SequenceDataset(sequences, rows, owners, seen=True)

    def _train(self) -> SequenceDataset:
        training = self._training
        rows, owners = (last_windows if self.windows == "last" else all_windows)(training, self.max_length)
        sampler = None
        if self.num_negatives:
            counts = self.item_counts.tolist()
            sampler = NegativeSampler(
                training.items, training.offsets, len(counts), self.seed, self.negative_alpha, counts
            )
        return SequenceDataset(training, rows, owners, sampler, self.num_negatives)

    def _lane_steps(self, plan: LoadPlan) -> LaneSteps:
        """Return the steps of a plan's rank; steps that were made for another rank are dropped."""
        place = (plan.rank, plan.world_size, plan.accumulate)
        if self._lanes is None or self._lanes[0] != place:
            self._lanes = place, self._build_lanes(plan)
        return self._lanes[1]

    def _build_lanes(self, plan: LoadPlan) -> LaneSteps:
        training = self._training
        order = np.arange(len(training))  # sessions are numbered by the time of their first event
        schedule = LaneSchedule.of_sessions(training.offsets, training.items, order, self.batch_size)
        return LaneSteps(
            schedule,
            self.item_counts,
            self.num_negatives,
            self.negative_alpha,
            self.seed,
            plan.accumulate,
            plan.rank,
            plan.world_size,
        )

    def _batches(self, plan: LoadPlan) -> Any:
        if self.batching == "sequences":
            return super()._batches(plan)
        data, limit = self._lane_steps(plan), plan.limit_train
        if isinstance(limit, float):
            limit = max(1, int(len(data.schedule) * limit))
        return LaneBatches(data, plan.max_steps, plan.start_step, limit)

    def dataset(self, split: str) -> Any:
        """Return the dataset of a split, built once; lanes are built for the plan's rank."""
        if split == "train" and self.batching == "lanes":
            return self._lane_steps(self.plan)
        return super().dataset(split)

    def collate(self, samples: Sequence[Any]) -> Any:
        """Put rows together into a batch; a step of lanes is a batch already."""
        return gather(samples) if isinstance(samples[0], RowPlace) else only(samples)

    def build_inputs(self, paths: list[Path]) -> SequenceDataset:
        """Return the sequences of a file without unknown items; ``left_out`` counts these, ``noted`` holds remarks."""
        (path,) = paths
        if not path.is_file():
            raise DataError(f"input={path}: one file of sequences is expected")
        numbers = {name: number for number, name in enumerate(self.splits.item_names, 1)}
        events = translate(self.read_inputs(path), numbers)
        known = events.items >= 1
        kept = events.keep(known)
        left_out = {f"rows {what}": count for what, count in events.left_out.items() if not what.endswith("kept")}
        left_out["events of unknown items"] = int((~known).sum())
        sequences = Sequences.of_events(kept, np.arange(len(numbers) + 1))
        left_out["sequences without a known item"] = len(np.unique(events.sessions)) - len(sequences)
        dataset = SequenceDataset(
            sequences, whole_prefixes(sequences, self.max_length), np.arange(len(sequences)), seen=True
        )
        dataset.left_out, dataset.noted = left_out, events.noted
        return dataset


def add_step(steps: Table, name: str, events: Events, note: str = "") -> None:
    """Add a row with what is left after a step."""
    steps.append({"step": name, **events.count(), "note": note})


def share(events: Events, total: int) -> str:
    """Return in words the share of all events that is used, and a warning if that is a single sequence."""
    said = f"{len(events) / total:.2%} of the {total} events used"
    return f"{said}; ONE sequence: its numbers say little" if len(np.unique(events.sessions)) == 1 else said


def number_items(train: Events) -> tuple[tuple[str, ...], Ints]:
    """Return the names of the items of the training data, and the number (from 1) of each item index, 0 for others."""
    present = np.unique(train.items)
    numbers = np.zeros(len(train.item_names), dtype=np.int64)
    numbers[present] = np.arange(1, len(present) + 1)
    return tuple(str(name) for name in train.item_names[present]), numbers
