"""Ranking metrics against torchmetrics, trec_eval and the figures of four real recommenders."""

from __future__ import annotations

import csv
import json
import math
import os
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchmetrics.retrieval import RetrievalMRR, RetrievalNormalizedDCG, RetrievalRecall

from lab.errors import ConfigError
from lab.tasks.recommendation.coverage import Coverage
from lab.tasks.recommendation.metrics import GroupedRankingMetrics, RankingMetrics, measure_lists

DATA = os.environ.get("LAB_DATA_DIR")
needs_data = pytest.mark.skipif(not DATA, reason="LAB_DATA_DIR is not set")


def counts(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many of the scores (Q, I) are above, and how many others at, that of each target (Q,)."""
    aim = scores.gather(1, targets[:, None])
    return (scores > aim).sum(1), (scores == aim).sum(1) - 1


def test_equal_to_torchmetrics() -> None:
    """200 queries among 60 items without ties. Worst difference 4e-9: torchmetrics adds up in float32."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.stack([torch.randperm(60, generator=generator) for _ in range(200)]).float()
    targets = torch.randint(60, (200,), generator=generator)
    metric = RankingMetrics([1, 5, 20])
    for rows in torch.arange(200).split(33):
        metric.update(*counts(scores[rows], targets[rows]))
    found = metric.compute()
    truth = torch.nn.functional.one_hot(targets, 60)
    indexes = torch.arange(200)[:, None].expand(200, 60)
    for k in (1, 5, 20):
        peers = {
            "recall": RetrievalRecall(top_k=k),
            "mrr": RetrievalMRR(top_k=k),
            "ndcg": RetrievalNormalizedDCG(top_k=k),
        }
        for name, peer in peers.items():
            expected = peer(scores.flatten(), truth.flatten(), indexes.flatten())
            assert found[f"{name}_{k}"] == pytest.approx(expected.item(), abs=1e-7)


def test_ties() -> None:
    """By hand: two items above, two others equal. Ranks 3, 5 and 4; and with one equal, median 3.5."""
    greater, equal = torch.tensor([2, 2]), torch.tensor([2, 1])
    expected = {
        "standard": {"recall_3": 1.0, "mrr_3": 1 / 3, "recall_4": 1.0, "mrr_4": 1 / 3},
        "conservative": {"recall_3": 0.0, "mrr_3": 0.0, "recall_4": 0.5, "mrr_4": 1 / 8},
        "median": {"recall_3": 0.0, "mrr_3": 0.0, "recall_4": 1.0, "mrr_4": (1 / 4 + 1 / 3.5) / 2},
    }
    for ties, values in expected.items():
        metric = RankingMetrics([3, 4], ties)
        metric.update(greater, equal)
        found = metric.compute()
        assert {name: found[name] for name in values} == pytest.approx(values, abs=1e-15)


def test_groups_and_nothing() -> None:
    """Each group by itself; without a query everything is -1, which tables leave out."""
    metric = GroupedRankingMetrics([2], num_groups=3)
    metric.update(torch.tensor([0, 1, 5]), torch.zeros(3, dtype=torch.int64), torch.tensor([2, 0, 0]))
    found = metric.compute()
    assert [row["queries"] for row in found] == [2, 0, 1]
    assert [row["mrr_2"] for row in found] == pytest.approx([0.25, math.nan, 1.0], abs=0, nan_ok=True)
    assert all(map(math.isnan, RankingMetrics([2]).compute().values()))


def test_state_does_not_grow() -> None:
    """The state is as large after a million queries, and far ranks stand together."""
    metric = RankingMetrics([10])
    metric.update(torch.arange(1_000_000), torch.zeros(1_000_000, dtype=torch.int64))
    assert metric.counts.shape == (1, 22)
    assert metric.compute()["recall_10"] == 1e-5


def test_mistakes_are_named() -> None:
    """The key, its value, what would be right."""
    with pytest.raises(ConfigError, match=r"eval.ks=\[0\]"):
        RankingMetrics([0])
    with pytest.raises(ConfigError, match=r"eval.ties='?medan'?: should be one of .*did you mean 'median'"):
        RankingMetrics([1], "medan")


def test_coverage_by_hand() -> None:
    """Lists of two among four items, one of them empty at the end; training counts 5, 1, 1, 1."""
    metric = Coverage([5, 1, 1, 1], [1, 2])
    metric.update(torch.tensor([[1, 2], [1, 3]]), torch.tensor([1, 2]))
    metric.update(torch.tensor([[1, 0], [2, 1], [1, 2]]), torch.tensor([3, 4, 1]))
    expected = {
        "coverage_1": 0.5,
        "popularity_1": 21 / 5,
        "coverage_2": 0.75,
        "popularity_2": 29 / 9,
        "popularity": 13 / 5,
    }
    assert metric.compute() == pytest.approx(expected, abs=1e-15)


@needs_data
def test_reference_recommenders() -> None:
    """HR@20 and MRR@20 of AR, SR, VSKNN and GRU4Rec on 387 positions of RSC15, as someone else computed them."""
    home = Path(str(DATA)) / "session_rsc15_100k"
    sessions: dict[str, list[str]] = defaultdict(list)
    with (home / "yoochoose-clicks-100k_test.txt").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            sessions[row["SessionId"]].append(row["ItemId"])
    expected = json.loads((home / "reference_recommendations/hr_mrr_at20.json").read_text())["results"]
    for name, values in expected.items():
        with (home / f"reference_recommendations/recoms_rsc15_100k_{name}.csv").open() as file:
            rows = list(csv.DictReader(file, delimiter=";"))
        metric = RankingMetrics([20])
        ranks = []
        for row in rows:
            items = row["Recommendations"].split(",")
            target = sessions[row["SessionId"]][int(row["Position"]) + 1]
            ranks.append(items.index(target) if target in items else len(items))
        metric.update(torch.tensor(ranks), torch.zeros(len(ranks), dtype=torch.int64))
        found = metric.compute()
        assert len(rows) == values["rows"]
        assert found["recall_20"] == pytest.approx(values["HR20"], abs=1e-15)
        assert found["mrr_20"] == pytest.approx(values["MRR20"], abs=1e-15)


def read_trec(name: str) -> dict[str, dict[str, float]]:
    """Return trec_eval's output: by query ("all" too), by measure."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for line in (Path(str(DATA)) / "oracles/trec_eval" / name).read_text().splitlines():
        measure, query, value = line.split()
        if measure.startswith(("recall_", "ndcg_cut_", "success_", "recip_rank")):
            found[query][measure] = float(value)
    return found


def trec_lists(qrels: str) -> tuple[list[str], Tensor, Tensor]:
    """Return the queries, the gains of their rankings (score descending, then document descending), and all gains."""
    home = Path(str(DATA)) / "oracles/trec_eval"
    gains: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (home / qrels).read_text().splitlines():
        query, _, document, level = line.split()
        gains[query][document] = max(0, int(level))
    runs: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for line in (home / "results.test").read_text().splitlines():
        query, _, document, _, score, _ = line.split()
        runs[query].append((float(score), document))
    queries = sorted(runs)
    ranked = [[gains[q].get(document, 0) for _, document in sorted(runs[q], reverse=True)] for q in queries]
    ideal = [list(gains[q].values()) for q in queries]
    padded = [
        torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        for rows in (ranked, ideal)
    ]
    return queries, padded[0], padded[1]


@needs_data
def test_equal_to_trec_eval() -> None:
    """Per query and in the mean; trec_eval prints four digits."""
    expected = read_trec("out.test.aq")
    queries, gains, ideal = trec_lists("qrels.test")
    means = defaultdict(list)
    for k in (5, 10, 15, 20, 30, 100, 200, 500, 1000):
        values = measure_lists(gains, ideal, k)
        names = {"recall": f"recall_{k}", "ndcg": f"ndcg_cut_{k}", "success": f"success_{k}"}
        for name, theirs in names.items():
            for row, query in enumerate(queries):
                if theirs in expected[query]:
                    assert values[name][row].item() == pytest.approx(expected[query][theirs], abs=5.1e-5)
                    means[theirs].append(values[name][row].item())
    for row, query in enumerate(queries):
        assert measure_lists(gains, ideal, 1000)["mrr"][row].item() == pytest.approx(
            expected[query]["recip_rank"], abs=5.1e-5
        )
    assert {"recall_20", "ndcg_cut_20", "success_10"} <= set(means)
    for theirs, values_of_queries in means.items():
        assert sum(values_of_queries) / len(queries) == pytest.approx(expected["all"][theirs], abs=5.1e-5)


@needs_data
def test_the_counting_metric_agrees_with_trec_eval() -> None:
    """The first relevant document as the one true item: its reciprocal rank, and success as recall."""
    expected = read_trec("out.test.aq")["all"]
    _, gains, _ = trec_lists("qrels.test")
    first = (gains > 0).int().argmax(1)
    metric = RankingMetrics([1, 5, 10, 1000])
    metric.update(first, torch.zeros_like(first))
    found = metric.compute()
    assert found["mrr_1000"] == pytest.approx(expected["recip_rank"], abs=5.1e-5)
    for k in (1, 5, 10):
        assert found[f"recall_{k}"] == pytest.approx(expected[f"success_{k}"], abs=5.1e-5)


def test_both_definitions_agree_on_one_true_item() -> None:
    """The counts against the lists that trec_eval has checked, rank by rank, NDCG included."""
    ranks = torch.arange(12)
    gains = torch.nn.functional.one_hot(ranks, 12)
    values = measure_lists(gains, torch.ones(12, 1), 7)
    for rank in range(12):
        metric = RankingMetrics([7])
        metric.update(ranks[rank : rank + 1], torch.zeros(1, dtype=torch.int64))
        found = metric.compute()
        for name in ("recall", "mrr", "ndcg"):
            assert found[f"{name}_7"] == pytest.approx(values[name][rank].item(), abs=1e-15)
