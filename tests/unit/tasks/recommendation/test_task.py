"""The recommendation task against a ranking in plain Python, in any batches; tests/dist has it on two ranks."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader

from lab.tasks.recommendation.queries import history
from lab.tasks.recommendation.task import RecommendationTask
from lab.training.terms import batch_terms
from tests.unit.tasks.recommendation.recommenders import ITEM_COUNTS, NUM_ITEMS, history_of, make_batch, make_task

SEQUENCES = range(17)


def measure(task: RecommendationTask, sizes: list[int], split: str = "test", every: bool = False) -> dict[str, float]:
    """Return the metrics of consecutive sequences in batches of these sizes."""
    numbers = iter(SEQUENCES)
    with torch.no_grad():
        for size in sizes:
            task.evaluate(split, None, make_batch([next(numbers) for _ in range(size)], every=every))
    found = task.compute_metrics(split)
    task.reset_metrics(split)
    return found


def plain_rank(task: RecommendationTask, number: int, left_out: set[int], ties: str) -> float:
    target = history_of(number)[2]
    events = make_batch([number])
    scores = task.net.encode(events, events.targets.items.nonzero())[0].tolist()
    others = [scores[item] for item in range(1, NUM_ITEMS + 1) if item != target and item not in left_out]
    greater = sum(score > scores[target] for score in others)
    equal = sum(score == scores[target] for score in others)
    return 1 + greater + {"standard": 0, "median": equal / 2, "conservative": equal}[ties]


@pytest.mark.parametrize("ties", ["standard", "median", "conservative"])
@pytest.mark.parametrize("exclude", [None, "exclude_seen", "exclude_train"])
def test_full_ranking(ties: str, exclude: str | None) -> None:
    """Ranks by hand; the validation item, the last event, is left out by exclude_seen alone."""
    task = make_task(ties=ties, **({exclude: True} if exclude else {}))
    ranks = []
    for number in SEQUENCES:
        before, shown, _ = history_of(number)
        had = [*before, *shown] if len(before) + len(shown) > 2 else before
        left_out = {None: set(), "exclude_seen": {*had, *shown}, "exclude_train": {*had[:-1], *shown[:-1]}}[exclude]
        ranks.append(plain_rank(task, number, left_out, ties))
    found = measure(task, [5, 5, 5, 2])
    for k in (1, 3, 5):
        expected = {
            f"recall_{k}": sum(rank <= k for rank in ranks) / len(ranks),
            f"mrr_{k}": sum(1 / rank for rank in ranks if rank <= k) / len(ranks),
            f"ndcg_{k}": sum(1 / math.log2(rank + 1) for rank in ranks if rank <= k) / len(ranks),
        }
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-15)
    assert 0 < found["recall_5"] < 1


def test_validation_leaves_out_the_last_event_too() -> None:
    """In validation the last event before the query is of the training."""
    assert measure(make_task(exclude_train=True), [17], "val") == measure(make_task(exclude_seen=True), [17], "val")
    assert measure(make_task(exclude_train=True), [17]) != measure(make_task(exclude_seen=True), [17])


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("changes", [{}, {"distribution": "popularity"}, {"exclude_seen": True}])
def test_negatives_do_not_depend_on_the_batch(changes: dict[str, Any], every: bool) -> None:
    """Another seed draws others; the other protocol stands beside it under its own name."""
    task = make_task(protocol="sampled", also="full", **changes)
    found = measure(task, [17], every=every)
    assert found == measure(task, [1] * 17, every=every) == measure(task, [3, 6, 8], every=every)
    other = measure(make_task(protocol="sampled", seed=1, **changes), [17], every=every)
    assert other["mrr_5"] != found["mrr_5"]
    full = measure(make_task(**changes), [17], every=every)
    assert {f"full_{name}": value for name, value in full.items() if "coverage" not in name}.items() <= found.items()
    assert found["coverage_3"] == full["coverage_3"]
    assert measure(make_task(protocol="sampled", num_negatives=2, **changes), [17], every=every)["recall_3"] == 1


def test_many_negatives_are_all_items() -> None:
    """With so many uniform negatives that all others are drawn, a target is first iff it is first among all."""
    sampled = measure(make_task(protocol="sampled", num_negatives=2000), [17])
    full = measure(make_task(), [17])
    assert sampled["recall_1"] == full["recall_1"]


def test_tables() -> None:
    """Groups add up to the whole; popularity by hand."""
    task = make_task()
    found = measure(task, [17], every=True)
    for name in ("by_support", "by_length"):
        rows = task.tables[name]
        total = sum(row["queries"] for row in rows)
        assert total == sum(len(history_of(number)[1]) for number in SEQUENCES)
        mean = sum(row["queries"] * (row["mrr_5"] or 0.0) for row in rows) / total
        assert mean == pytest.approx(found["mrr_5"], abs=1e-15)
    assert [row["events in training"] for row in task.tables["by_support"]] == ["0", "1-4", "5-19", "20-99"]
    assert [row["events read"] for row in task.tables["by_length"]] == ["1", "2", "3-4", "5-9"], (
        "empty ones are left out"
    )
    targets = [item for number in SEQUENCES for item in [*history_of(number)[1][1:], history_of(number)[2]]]
    truth = sum(ITEM_COUNTS[item - 1] for item in targets) / len(targets)
    assert task.tables["popularity"][0] == {"items": "true", "events in training": truth, "ratio": 1.0}
    best = task.tables["popularity"][1]
    assert best["ratio"] == best["events in training"] / truth


def test_validation_with_a_trainer() -> None:
    """The monitored metric and the loss of the set as one batch."""
    task = make_task()
    batches: Any = DataLoader([make_batch([0, 1, 2]), make_batch([3, 4])], batch_size=None)
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.validate(task, dataloaders=batches, verbose=False)
    whole = make_batch(range(5))
    expected = batch_terms(task.net, task.net(whole), whole.targets)["loss_ce"].item()
    assert task.results["val/loss"] == pytest.approx(expected, rel=1e-6)
    assert task.monitor == "val/mrr_5"
    assert task.results["val/mrr_5"] == pytest.approx(measure(make_task(), [5], "val")["mrr_5"], abs=1e-15)


def test_lists() -> None:
    """The best items after the last event, of equal ones the lower number first; seen ones left out if asked."""
    task, batch = make_task(), make_batch(range(6))
    with torch.no_grad():
        items, scores = task.recommend(batch, 4, exclude_seen=True)
    for row, number in enumerate(range(6)):
        before, shown, _ = history_of(number)
        last = torch.tensor([[row, len(shown) - 1]])
        values = task.net.encode(batch, last)[0].tolist()
        had = {*before, *shown}
        best = sorted((item for item in range(1, NUM_ITEMS + 1) if item not in had), key=lambda i: (-values[i], i))[:4]
        assert items[row].tolist() == best
        assert scores[row].tolist() == [values[item] for item in best]


def test_what_is_said_of_the_protocol() -> None:
    """Everything that a reader needs to compare."""
    assert make_task(also="sampled", exclude_seen=True).describe_evaluation() == (
        "ranked among all 12 items, seen items left out, standard ties; sampled_...: ranked among 6 uniform negatives, "
        "seed 0, seen items left out, standard ties"
    )
    assert (
        "training items left out, at most 9 sequences, median ties"
        in make_task(protocol="sampled", exclude_train=True, max_sequences=9, ties="median").describe_evaluation()
    )


def test_what_is_seen_by_each_query() -> None:
    """Shown events up to the query, and those from before; without the last one where only the training counts."""
    batch = make_batch([0, 1], every=True)
    for row, number in enumerate((0, 1)):
        before, shown, _ = history_of(number)
        assert batch.seen_counts[row] >= len(before)
        for position in range(len(shown)):
            place = torch.tensor([[row, position]])
            first = [*before, *(shown if batch.seen_counts[row] > len(before) else [])]
            found = set(history(batch, place, NUM_ITEMS).items.tolist())
            assert found == {*first, *shown[: position + 1]}
            trained = set(history(batch, place, NUM_ITEMS, in_training=True).items.tolist())
            assert trained == {*first[:-1], *shown[:position]}
    batch.seen = None
    assert set(history(batch, torch.tensor([[1, 0]]), NUM_ITEMS).items.tolist()) == {history_of(1)[1][0]}
