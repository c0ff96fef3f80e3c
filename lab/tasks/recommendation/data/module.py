"""The DataModules of recommendation: splits of sequences, batches as the model asks for them, inputs for prediction."""

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
    """What a dataset is split into.

    Attributes:
        item_names: the user's own id of each item, number 1 first.
        train: what is learnt from. With ``leave_one_out`` all events of all users, the last ones of which are kept for
            evaluation.
        val: sequences of which every next item is asked for; None with ``leave_one_out``.
        test: the same.
        held_out: with ``leave_one_out`` the users whose last two events are kept for evaluation; None otherwise.
        steps: what each step of the preprocessing left: rows of a table.
    """

    item_names: tuple[str, ...]
    train: Sequences
    val: Sequences | None = None
    test: Sequences | None = None
    held_out: Ints | None = None
    steps: Table = field(default_factory=list)


@dataclass(eq=False)
class RecommendationDataModule(DataModule):
    """Base of recommendation data: a subclass gives ``read()``, which returns ``Splits``, and ``read_inputs()``.

    It is a dataclass, as those that derive from it are: an argument stands once, in the class that reads it.

    Args:
        batch_size: the global batch: sequences, or lanes.
        num_workers: loader processes of each rank.
        seed: of the order and the negatives.
        batching: ``"sequences"``: a sample is a sequence, and all its next items are targets; ``"lanes"``: sessions are
            walked through side by side, one event a step (GRU4Rec).
        max_length: the most events of a sequence that are read; None for all.
        num_negatives: items that did not follow: for each position (sequences) or each step (lanes).
        negative_alpha: they are drawn in proportion to an item's support to this power; 0 is uniform.
        windows: what is learnt of sequences of more than ``max_length`` events: the ``"last"`` ones alone, as SASRec's
            authors do, or ``"all"``, in windows laid end to end; of lanes always all.
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
        self._lanes: tuple[tuple[int, int, int], LaneSteps] | None = None  # with rank, ranks and micro-batches

    @abstractmethod
    def read(self) -> Splits:
        """Read and split the data; called once."""

    @abstractmethod
    def read_inputs(self, path: Path) -> Events:
        """Read a file of sequences to predict for."""

    @cached_property
    def splits(self) -> Splits:
        """The data, read when first asked for."""
        return self.read()

    @cached_property
    def item_counts(self) -> Ints:
        """(I,) how often each item stands in the training data."""
        return np.bincount(self._training.items, minlength=len(self.splits.item_names) + 1)[1:]

    @cached_property
    def _training(self) -> Sequences:
        """The training data alone: what evaluation asks for is cut off."""
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
        """Items with their names and counts."""
        training = self._training
        return RecommendationSpec(
            item_names=tuple(self.splits.item_names),
            item_counts=tuple(self.item_counts.tolist()),
            num_sequences=len(training),
            num_events=len(training.items),
        )

    def read_file(self, path: Path, columns: Columns, steps: Table) -> Events:
        """Read a file of events, begin the table of steps with what stands in it, and note what became of its rows."""
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
        """Return for each file that was read: rows, used, and why they differ."""
        return dict(self._rows_read) if self.splits else {}

    def tables(self) -> dict[str, Table]:
        """Return what each step of the preprocessing left."""
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
        # Validation draws negatives too, for its loss; those of the training data's users do not concern it.
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
        """Return the steps of a plan's rank; those of another rank, if asked for before, are forgotten."""
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
        """Put rows together into a batch; a step of lanes is one already."""
        return gather(samples) if isinstance(samples[0], RowPlace) else only(samples)

    def build_inputs(self, paths: list[Path]) -> SequenceDataset:
        """Return the sequences of a file, unknown items left out; ``left_out`` counts them, ``noted`` what is odd."""
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
    """Return what share of all events these are, and whether they are too few to measure anything."""
    said = f"{len(events) / total:.2%} of the {total} events used"
    return f"{said}; ONE sequence: its numbers say little" if len(np.unique(events.sessions)) == 1 else said


def number_items(train: Events) -> tuple[tuple[str, ...], Ints]:
    """Return the names of the items of the training data, and the number (from 1) of each item index, 0 for others."""
    present = np.unique(train.items)
    numbers = np.zeros(len(train.item_names), dtype=np.int64)
    numbers[present] = np.arange(1, len(present) + 1)
    return tuple(str(name) for name in train.item_names[present]), numbers
