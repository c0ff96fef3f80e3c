"""Recommendations from a checkpoint, in Python, by the user's own item ids.

recommender = lab.load_recommender("runs/.../checkpoints/best.ckpt")
recommender.recommend(["214536502", "214536506"], k=10)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lab.errors import DataError, closest
from lab.structures import SequenceBatch, SequenceTargets
from lab.tasks.recommendation.task import RecommendationTask


class Recommendation(NamedTuple):
    """An item, by the user's own id, and its score: higher is better, and comparable within one list only."""

    item: str
    score: float


class TrainedRecommender:
    """Answers what may follow the events of a session or user.

    Args:
        task: a trained task; it is set to evaluation.

    Attributes:
        item_names: the user's own ids.
    """

    def __init__(self, task: RecommendationTask) -> None:
        self.task = task.eval()
        self.item_names = task.spec.item_names
        self._numbers = {name: number for number, name in enumerate(self.item_names, start=1)}

    def recommend(self, history: Sequence[str | int], k: int = 10, exclude_seen: bool = False) -> list[Recommendation]:
        """Return the best k items to follow, best first; fewer where there are no more.

        Args:
            history: ids of items, oldest first; those that the training did not know are left out.
            k: length of the list.
            exclude_seen: leave out what the history holds.

        Raises:
            DataError: the training knew none of the items.
        """
        if not self._known(history):
            near = closest(str(history[-1]), self.item_names) if len(history) else ""
            raise DataError(f"history={list(map(str, history))}: the training knew none of these items{near}")
        return self.recommend_many([history], k, exclude_seen)[0]

    @torch.no_grad()
    def recommend_many(
        self, histories: Sequence[Sequence[str | int]], k: int = 10, exclude_seen: bool = False, batch_size: int = 256
    ) -> list[list[Recommendation]]:
        """Return a list for each history, empty where the training knew none of its items.

        Args:
            histories: of ids of items, oldest first; those that the training did not know are left out.
            k: length of the lists.
            exclude_seen: leave out what a history holds.
            batch_size: histories that are read at once.
        """
        known = [self._known(history) for history in histories]
        asked = [index for index, items in enumerate(known) if items]
        lists: list[list[Recommendation]] = [[] for _ in histories]
        for first in range(0, len(asked), batch_size):
            part = asked[first : first + batch_size]
            batch = make_batch([known[index] for index in part]).to(self.task.device)
            items, scores = self.task.recommend(batch, k, exclude_seen)
            for index, row, values in zip(part, items.tolist(), scores.tolist(), strict=True):
                pairs = zip(row, values, strict=True)
                lists[index] = [Recommendation(self.item_names[item - 1], value) for item, value in pairs if item]
        return lists

    def _known(self, history: Sequence[str | int]) -> list[int]:
        if isinstance(history, str):
            raise DataError(f"history={history!r}: should be a list of ids, [{history!r}] for one item")
        return [self._numbers[name] for item in history if (name := _name(item)) in self._numbers]


def _name(item: str | float) -> str:
    """Return an id as files are read: without blanks around it, and 7.0, which pandas makes of 7, as 7."""
    return str(int(item)) if isinstance(item, float) and item.is_integer() else str(item).strip()


def load_recommender(ckpt: str | Path, device: str = "cpu") -> TrainedRecommender:
    """Return the recommender of a checkpoint, whatever strategy it was trained under.

    Args:
        ckpt: the folder, ``runs/.../checkpoints/best.ckpt`` for instance.
        device: where to compute.

    Raises:
        CheckpointError: it is missing, damaged or of another task.
    """
    return TrainedRecommender(RecommendationTask.load_from_checkpoint(ckpt).to(device))


def make_batch(histories: Sequence[Sequence[int]]) -> SequenceBatch:
    """Return a batch of item numbers, at least one in each history, that asks nothing."""
    rows = [torch.tensor(history, dtype=torch.int64) for history in histories]
    items = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return SequenceBatch(
        items=items,
        lengths=torch.tensor([len(row) for row in rows]),
        targets=SequenceTargets(torch.zeros_like(items), (0,) * len(rows)),
        sequence_ids=torch.arange(len(rows)),
        valid=torch.ones(len(rows), dtype=torch.bool),
    )
