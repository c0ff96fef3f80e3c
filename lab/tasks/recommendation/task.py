"""The recommendation task: trains any ``lab.structures.Recommender`` with its own loss and measures ranks.

``describe_evaluation`` says how metrics were computed: metrics among sampled items cannot be compared with those among
all items, nor with each other if the sampling differs (Krichene and Rendle, "On Sampled Metrics for Item
Recommendation", KDD 2020; Dallmann et al., "A Case Study on Sampled Metrics for Session-Based Recommendation",
RecSys 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lab.checking import check_range
from lab.compat.lightning import strategy_of
from lab.data.datamodule import DataModule
from lab.errors import ConfigError
from lab.loggers.undefined import with_nulls
from lab.structures import RecommendationSpec, Recommender, SequenceBatch, Table, Term
from lab.tasks.recommendation.coverage import Coverage
from lab.tasks.recommendation.descriptions import describe_protocol, group_names, group_of, popularity_table
from lab.tasks.recommendation.histories import Recommendation, history_batch, is_one, known_items, no_known_item
from lab.tasks.recommendation.metrics import MEASURES, GroupedRankingMetrics, RankingMetrics
from lab.tasks.recommendation.queries import Queries, Scorer, history
from lab.tasks.recommendation.ranks import Pairs, Ranking, rank_first, rank_targets, top_items
from lab.tasks.recommendation.sampling import draw_outside
from lab.training.task import Task, chosen_arguments

SUPPORT = (1, 5, 20, 100)
"""Lower bounds of the groups of items by count in the training data; the group before the first has count 0."""
LENGTH = (2, 3, 5, 10, 20)
"""Lower bounds of the groups of queries by number of events they may read; the group before the first has one."""


class RecommendationTask(Task):
    """Train and measure a recommender; see ``Task`` for the arguments.

    Validation uses ``eval.protocol``. A test adds the other protocol if ``eval.also`` names it, coverage and popularity
    if all items are ranked, and tables of groups of queries.
    """

    kind = "recommendation"
    protocol = Recommender
    spec: RecommendationSpec

    ranks: Any
    groups: Any
    coverage: Any
    num_queries = 0

    def net_arguments(self, target: str) -> dict[str, Any]:
        """Return those of the numbers of items, sequences and events that the network takes as arguments."""
        return chosen_arguments(target, self.spec.net_arguments())

    def memorize(self, data: DataModule) -> None:
        """Pass the training sequences to a network without trainable parameters.

        Raises:
            ConfigError: the data has no method ``training_sequences``.
        """
        sequences = getattr(data, "training_sequences", None)
        if sequences is None:
            raise ConfigError(f"{type(data).__name__} has no sequences to remember: no method training_sequences()")
        self.net.memorize(*sequences())

    def describe_evaluation(self) -> str:
        """Return how the metrics were computed, and the number of queries in the last evaluation."""
        settings = self.eval_settings
        words = [describe_protocol(settings["protocol"], settings, self.spec.num_items)]
        if settings["also"]:
            words.append(
                f"{settings['also']}_...: {describe_protocol(settings['also'], settings, self.spec.num_items)}"
            )
        if self.num_queries:
            words.append(f"{self.num_queries} queries")
        return "; ".join(words)

    def make_metrics(self) -> None:
        """Make the ranking metrics of validation and test; for the test also those of groups and the coverage."""
        settings = self.eval_settings
        ks, ties = settings["ks"], settings["ties"]
        self.monitor = f"val/{settings['monitor'] or f'mrr_{max(ks)}'}"
        self.shown = (f"recall_{max(ks)}", f"mrr_{max(ks)}")
        names = ("val", "test", "test_also") if settings["also"] else ("val", "test")
        self.ranks = nn.ModuleDict({name: RankingMetrics(ks, ties) for name in names})
        self.groups = nn.ModuleDict(
            {
                "support": GroupedRankingMetrics(ks, len(SUPPORT) + 1, ties),
                "length": GroupedRankingMetrics(ks, len(LENGTH) + 1, ties),
            }
        )
        counts = self.spec.item_counts or [0] * self.spec.num_items
        self.item_counts = torch.tensor(counts, dtype=torch.int64, device="cpu")
        self.coverage = Coverage(counts, ks) if "full" in (settings["protocol"], settings["also"]) else None

    def _metrics(self, split: str) -> list[Any]:
        found = [metric for name, metric in self.ranks.items() if name.startswith(split)]
        if split == "test":
            found += [*self.groups.values(), *([self.coverage] if self.coverage is not None else [])]
        return found

    def reset_metrics(self, split: str) -> None:
        """Reset the metrics."""
        for metric in self._metrics(split):
            metric.reset()

    def forward(self, batch: Any) -> Any:
        """Return the network's outputs for a training batch."""
        return self.net(batch)

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Update the ranks; also the loss, if the network trains on sequences and has the negatives that it needs."""
        if getattr(self.net, "batching", "sequences") == "sequences":
            _, terms = self.terms(batch)
            self.may_measure(self.val_loss.update(terms, self.totals(batch), batch.valid))
        self.evaluate("val", None, batch)

    def test_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Update the ranks."""
        self.evaluate("test", None, batch)

    def evaluate(self, split: str, outputs: Any, batch: SequenceBatch) -> None:
        """Add the ranks of a batch's true items; ``outputs`` are not used."""
        settings = self.eval_settings
        queries = Queries.of(batch)
        scorer = Scorer(self.net, batch, queries.places, self.spec.num_items)
        excluded = None
        if settings["exclude_seen"] or settings["exclude_train"]:
            in_training = split == "test" and not settings["exclude_seen"]
            excluded = history(batch, queries.places, self.spec.num_items, in_training)
        protocols = [settings["protocol"]]
        if split == "test" and settings["also"]:
            protocols.append(settings["also"])
        with self._gathered():
            if split == "val" and self.is_trained and not self.may_measure(scorer.is_finite(queries.targets)):
                return
            for number, protocol in enumerate(protocols):
                ranking = self._rank(protocol, split, queries, scorer, excluded)
                self._count(ranking, split, number, queries)

    def _gathered(self) -> AbstractContextManager[None]:
        """Return a context in which the parameters that ``score`` reads are whole; every rank enters it per batch."""
        strategy = strategy_of(self)
        context: AbstractContextManager[None] = getattr(strategy, "gathered_parameters", nullcontext)()
        return context

    def _rank(self, protocol: str, split: str, queries: Queries, scorer: Scorer, excluded: Pairs | None) -> Ranking:
        if protocol == "full":
            top = max(self.eval_settings["ks"]) if split == "test" else 0
            return rank_targets(scorer.of_block, queries.targets, self.spec.num_items, excluded, top)
        negatives = self._negatives(queries, excluded)
        greater, equal = rank_first(scorer.some_items(torch.cat([queries.targets[:, None], negatives], 1)))
        return Ranking(greater, equal, queries.targets.new_zeros((len(greater), 0)))

    def _negatives(self, queries: Queries, excluded: Pairs | None) -> Tensor:
        """Draw the negatives of each query (Q, n), with replacement and never its true item."""
        settings, targets = self.eval_settings, queries.targets
        numbers = torch.arange(len(targets), device=targets.device)
        owners, items = [numbers], [targets]
        if excluded is not None:
            owners.append(excluded.queries)
            items.append(excluded.items)
        outside = Pairs.of(torch.cat(owners), torch.cat(items), self.spec.num_items)
        weights = self.item_counts.to(targets.device)
        weights = weights if settings["distribution"] == "popularity" else torch.ones_like(weights)
        return draw_outside(
            weights, outside, queries.sequences, queries.ordinals, settings["num_negatives"], settings["seed"]
        )

    def _count(self, ranking: Ranking, split: str, number: int, queries: Queries) -> None:
        valid = queries.valid
        greater, equal, targets = ranking.greater[valid], ranking.equal[valid], queries.targets[valid]
        self.ranks["test_also" if number else split].update(greater, equal)
        if split != "test":
            return
        if self.coverage is not None and ranking.top_items.shape[1]:
            self.coverage.update(ranking.top_items[valid], targets)
        if number == 0:
            support = self.item_counts.to(targets.device)[targets - 1]
            self.groups["support"].update(greater, equal, group_of(support, SUPPORT))
            self.groups["length"].update(greater, equal, group_of(queries.num_events[valid], LENGTH))

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return recall, MRR and NDCG at each k; a test also returns coverage and fills ``tables``."""
        values: dict[str, float] = self.ranks[split].compute()
        self.num_queries = self.ranks[split].num_queries
        if split != "test":
            return values
        if "test_also" in self.ranks:
            prefix = self.eval_settings["also"]
            values |= {f"{prefix}_{name}": value for name, value in self.ranks["test_also"].compute().items()}
        if self.coverage is not None:
            found = self.coverage.compute()
            values |= {name: value for name, value in found.items() if name.startswith("coverage")}
            self.tables["popularity"] = popularity_table(found, self.eval_settings["ks"])
        self.tables["by_support"] = self._group_table("support", "events in training", SUPPORT)
        self.tables["by_length"] = self._group_table("length", "events read", LENGTH)
        return values

    def _group_table(self, name: str, what: str, starts: tuple[int, ...]) -> Table:
        k = max(self.eval_settings["ks"])
        shown = ["queries", *(f"{measure}_{k}" for measure in MEASURES)]
        rows = zip(group_names(starts, 0 if name == "support" else 1), self.groups[name].compute(), strict=True)
        return [with_nulls({what: label, **{key: row[key] for key in shown}}) for label, row in rows if row["queries"]]

    def predict_step(self, batch: SequenceBatch, batch_idx: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return sequence numbers (b,), their best items (b, k), padded with 0, and scores (b, k).

        The item after the last event of each sequence is predicted. Sequences that only pad the batch are left out.
        """
        items, scores = self.recommend(batch, self.eval_settings["top_k"], self.eval_settings["exclude_seen"])
        return batch.sequence_ids[batch.valid], items[batch.valid], scores[batch.valid]

    def recommend(self, batch: SequenceBatch, k: int, exclude_seen: bool) -> tuple[Tensor, Tensor]:
        """Return the best next items (B, k) of each sequence, best first, padded with 0, and their scores.

        Args:
            batch: sequences; the targets are not read.
            k: length of the lists.
            exclude_seen: leave out items of the sequence.
        """
        rows = torch.arange(len(batch.items), device=batch.items.device)
        places = torch.stack([rows, batch.lengths - 1], 1)
        scorer = Scorer(self.net, batch, places, self.spec.num_items)
        excluded = history(batch, places, self.spec.num_items) if exclude_seen else None
        with self._gathered():
            return top_items(scorer.of_block, len(rows), self.spec.num_items, k, excluded, rows.device)

    def predict(
        self, inputs: Any, batch_size: int = 256, k: int | None = None, exclude_seen: bool | None = None
    ) -> Any:
        """Return the best next items for a history, best first, as ``Recommendation(item, score)``.

        Args:
            inputs: a history: ids of items as in the training data, oldest first; or a list of histories. Ids that are
                not in the training data are left out.
            batch_size: histories in one forward pass.
            k: the largest length of a list; None for ``eval.top_k``.
            exclude_seen: leave out items in the history; None for ``eval.exclude_seen``.

        Returns:
            A list; for several histories a list of lists, empty where no item is in the training data.

        Raises:
            DataError: the input is not a history, or none of the items of a single history is in the training data.
            ConfigError: ``k`` is not positive.
        """
        names, settings = self.spec.item_names, self.eval_settings
        if k is not None:
            check_range("k", k, least=1)
        numbers = {name: number for number, name in enumerate(names, start=1)}
        single = is_one(inputs)
        known = [known_items(history, numbers) for history in ([inputs] if single else inputs)]
        if single and not known[0]:
            raise no_known_item(inputs, names)
        asked = [index for index, items in enumerate(known) if items]
        lists: list[list[Recommendation]] = [[] for _ in known]
        k = settings["top_k"] if k is None else k
        exclude_seen = settings["exclude_seen"] if exclude_seen is None else exclude_seen
        with self.evaluating():
            for first in range(0, len(asked), batch_size):
                part = asked[first : first + batch_size]
                batch = history_batch([known[index] for index in part]).to(self.device)
                items, scores = self.recommend(batch, k, exclude_seen)
                for index, row, values in zip(part, items.tolist(), scores.tolist(), strict=True):
                    pairs = zip(row, values, strict=True)
                    lists[index] = [Recommendation(names[item - 1], value) for item, value in pairs if item]
        return lists[0] if single else lists

    def describe_pass(self, batch: Any, outputs: Any, terms: Mapping[str, Term] | None) -> str:
        """Return the shape of the training batch and the terms of its loss."""
        found = "a loss that reads values" if terms is None else ", ".join(terms)
        return f"items {tuple(batch.items.shape)} -> {found or 'nothing to train'}"
