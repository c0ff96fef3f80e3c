"""Windows of sequences against lists written out event by event."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from lab.data.loader import eval_loader
from lab.data.sampler import EvalBatches, TrainBatches
from lab.structures import SequenceBatch
from lab.tasks.recommendation.data.negatives import NegativeSampler
from lab.tasks.recommendation.data.sequences import (
    SequenceDataset,
    Sequences,
    all_windows,
    gather,
    last_queries,
    last_windows,
    query_windows,
    whole_prefixes,
)

NUM_ITEMS = 40
LISTS = [
    [7],
    [1, 2],
    [3, 3, 4],
    [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
    [20, 21, 22, 23, 24],
    [30, 31, 30, 32],
]
SEQUENCES = Sequences(
    np.concatenate([np.array(row, dtype=np.int64) for row in LISTS]),
    np.cumsum([0, *map(len, LISTS)]),
    np.array([f"s{number}" for number in range(len(LISTS))], dtype=object),
)
LENGTHS = [None, 1, 2, 3, 4, 5, 12, 13, 50]


def read(dataset: SequenceDataset) -> SequenceBatch:
    """Return all rows as one batch."""
    return gather([dataset[0, index] for index in range(len(dataset))])


def queries(batch: SequenceBatch) -> list[tuple[int, list[int], int]]:
    """Return (sequence, the events that may be read, the item asked for) of each query, walking over all places."""
    found = []
    for row, owner in enumerate(batch.sequence_ids.tolist()):
        length = int(batch.lengths[row])
        assert batch.items[row, length:].eq(0).all()
        assert batch.items[row, :length].gt(0).all()
        for position in range(batch.items.shape[1]):
            if target := int(batch.targets.items[row, position]):
                assert position < length
                found.append((owner, batch.items[row, : position + 1].tolist(), target))
    assert len(found) == sum(batch.targets.counts)
    return found


def seen(batch: SequenceBatch) -> list[list[int]]:
    """Return what each row has had."""
    assert batch.seen is not None
    return [part.tolist() for part in batch.seen.split(list(batch.seen_counts))]


@pytest.mark.parametrize("max_length", LENGTHS)
@pytest.mark.parametrize("drop_last", [0, 2])
def test_training_reads_the_last_window_and_asks_for_all_that_follows(max_length: int | None, drop_last: int) -> None:
    rows, owners = last_windows(SEQUENCES, max_length, drop_last)
    found = read(SequenceDataset(SEQUENCES, rows, owners))
    expected = []
    for owner, items in enumerate(LISTS):
        kept = items[: len(items) - drop_last]
        reads, asks = kept[:-1][-(max_length or 99) :], kept[1:][-(max_length or 99) :]
        expected += [(owner, reads[: place + 1], item) for place, item in enumerate(asks)]
    assert queries(found) == expected
    assert found.seen is None


@pytest.mark.parametrize("max_length", LENGTHS)
def test_training_may_read_all_windows(max_length: int | None) -> None:
    found = read(SequenceDataset(SEQUENCES, *all_windows(SEQUENCES, max_length)))
    expected = []
    for owner, items in enumerate(LISTS):
        pairs = list(pairwise(items))
        size = max_length or 99
        first = len(pairs) % size or size  # the windows are cut from the end: the first one is what is left
        cuts = [pairs[:first], *[pairs[place : place + size] for place in range(first, len(pairs), size)]]
        for cut in cuts:
            reads = [item for item, _ in cut]
            expected += [(owner, reads[: place + 1], target) for place, (_, target) in enumerate(cut)]
    assert queries(found) == expected


@pytest.mark.parametrize("max_length", LENGTHS)
def test_evaluation_asks_each_query_once(max_length: int | None) -> None:
    rows, owners = query_windows(SEQUENCES, max_length)
    batch = read(SequenceDataset(SEQUENCES, rows, owners, seen=True))
    found = queries(batch)
    if max_length is None or max_length >= 12:
        assert len(batch.items) == 5  # one row each; a single event asks for nothing
    # Where one stands among its sequence's events is not in the batch; what it reads and asks for fits one place only.
    asked = Counter()
    for owner, events, target in found:
        items = LISTS[owner]
        (place,) = [
            place
            for place in range(1, len(items))
            if items[place] == target and items[:place][-len(events) :] == events
        ]
        asked[owner, place] += 1
        if max_length is None:
            assert len(events) == place
        else:
            # A query reads half of max_length at least, or all there is, and never more than max_length.
            assert min(place, max_length - max(1, max_length // 2) + 1) <= len(events) <= min(place, max_length)
    assert asked == Counter((owner, place) for owner, items in enumerate(LISTS) for place in range(1, len(items)))
    # What had been before a row's first query, that event included, from the very first event of the sequence on.
    for row, had in enumerate(seen(batch)):
        owner, place = int(batch.sequence_ids[row]), int(batch.targets.items[row].nonzero()[0])
        stands = [*LISTS[owner], 0].index(int(batch.targets.items[row, place]), 1)
        assert had == LISTS[owner][:stands]


@pytest.mark.parametrize("max_length", LENGTHS)
@pytest.mark.parametrize(("split", "drop_last"), [("val", 1), ("test", 0)])
def test_leave_one_out_asks_for_the_last_event(max_length: int | None, split: str, drop_last: int) -> None:
    owners = np.array([2, 3, 4, 5])
    dataset = SequenceDataset(SEQUENCES, last_queries(SEQUENCES, owners, max_length, drop_last), owners, seen=True)
    batch = read(dataset)
    kept = {owner: LISTS[owner][: len(LISTS[owner]) - drop_last] for owner in owners.tolist()}
    # The test reads the validation item, which is the event before the last.
    assert queries(batch) == [(owner, row[:-1][-(max_length or 99) :], row[-1]) for owner, row in kept.items()]
    assert seen(batch) == [row[:-1] for row in kept.values()]
    assert dataset.sequence_names == ["s2", "s3", "s4", "s5"]


def test_prediction_asks_nothing() -> None:
    dataset = SequenceDataset(SEQUENCES, whole_prefixes(SEQUENCES, 3), np.arange(len(LISTS)), seen=True)
    batch = read(dataset)
    assert [row[row > 0].tolist() for row in batch.items] == [row[-3:] for row in LISTS]
    assert not batch.targets.items.any()
    assert batch.targets.counts == (0,) * len(LISTS)
    # What is not shown is in ``seen``: together they are all that the sequence has had.
    assert [sorted({*had, *row.tolist()} - {0}) for had, row in zip(seen(batch), batch.items, strict=True)] == [
        sorted(set(row)) for row in LISTS
    ]


def test_rows_of_a_batch_are_those_of_smaller_batches() -> None:
    """Also those of the last row of the storage, beyond which there is nothing to read."""
    rows, owners = query_windows(SEQUENCES, 4)
    dataset = SequenceDataset(SEQUENCES, rows, owners, seen=True)
    whole = read(dataset)
    cut = slice(2, 5)
    one, other = whole.rows(cut), gather([dataset[0, index] for index in range(2, 5)])
    assert one.seen is not None
    assert one.seen.tolist() == other.seen.tolist()
    assert (one.seen_counts, one.targets.counts) == (other.seen_counts, other.targets.counts)
    for index in range(len(dataset)):
        alone = gather([dataset[0, index]])
        width = int(alone.lengths[0])
        assert alone.items.shape == (1, width)
        assert alone.items[0].tolist() == whole.items[index, :width].tolist()
        assert alone.targets.items[0].tolist() == whole.targets.items[index, :width].tolist()


def make_training(num_negatives: int = 3, max_length: int | None = 4) -> SequenceDataset:
    rows, owners = last_windows(SEQUENCES, max_length)
    sampler = NegativeSampler(SEQUENCES.items, SEQUENCES.offsets, NUM_ITEMS, seed=5)
    return SequenceDataset(SEQUENCES, rows, owners, sampler, num_negatives)


def negatives_of(keys: list[tuple[int, int]], dataset: SequenceDataset) -> dict[tuple[int, int], list[list[int]]]:
    """Return what is drawn at each real place of each row, by its key."""
    batch = gather([dataset[key] for key in keys])
    drawn = batch.targets.negatives
    assert drawn is not None
    assert torch.equal(drawn > 0, (batch.targets.items > 0)[..., None].expand_as(drawn))
    return {key: drawn[row][batch.targets.items[row] > 0].tolist() for row, key in enumerate(keys)}


def test_negatives_of_a_sample_are_the_same_in_any_batch() -> None:
    dataset = make_training()
    keys = [(epoch, index) for epoch in range(3) for index in range(len(dataset))]
    whole = negatives_of(keys, dataset)
    for (_, index), places in whole.items():
        for drawn in places:
            assert not set(drawn) & set(LISTS[dataset.owners[index]])
    shuffled = [keys[number] for number in np.random.default_rng(0).permutation(len(keys))]
    for size in (1, 4):
        for first in range(0, len(keys), size):  # batches of several epochs too
            for key, drawn in negatives_of(shuffled[first : first + size], make_training()).items():
                assert drawn == whole[key]
    of_epochs = [[whole[epoch, index] for index in range(len(dataset))] for epoch in range(3)]
    assert of_epochs[0] != of_epochs[1] != of_epochs[2]


def test_negatives_of_ranks_and_micro_batches_are_those_of_one() -> None:
    dataset = make_training()
    alone = {}
    for keys in TrainBatches(len(dataset), 4, 0, max_steps=5):
        alone |= negatives_of(keys, dataset)
    parts = {}
    for rank in range(2):
        for keys in TrainBatches(len(dataset), 4, 0, 5, accumulate=2, rank=rank, world_size=2):
            parts |= negatives_of(keys, dataset)
    assert len(alone) == 20
    assert parts == alone


def test_negatives_do_not_depend_on_the_window() -> None:
    """They belong to an event of a sequence, wherever a window begins."""
    short, long = (negatives_of([(1, 2)], make_training(max_length=length))[1, 2] for length in (4, None))
    assert len(long) == 12
    assert short == long[-4:]


def test_loaders_mark_what_fills_up() -> None:
    rows, owners = query_windows(SEQUENCES, None)
    dataset = SequenceDataset(SEQUENCES, rows, owners, seen=True)
    loaders = [list(eval_loader(dataset, EvalBatches(len(dataset), 4, rank, 2), gather, 0, False)) for rank in range(2)]
    assert [len(batches) for batches in loaders] == [2, 2]
    counted = [
        owner
        for batches in loaders
        for batch in batches
        for owner, valid in zip(batch.sequence_ids.tolist(), batch.valid.tolist(), strict=True)
        if valid
    ]
    assert sorted(counted) == [1, 2, 3, 4, 5]
