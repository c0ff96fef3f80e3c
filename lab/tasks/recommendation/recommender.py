"""Recommendations from a checkpoint, in Python, by the user's own item ids.

recommender = lab.load_recommender("runs/.../checkpoints/best.ckpt")
recommender.recommend(["214536502", "214536506"], k=10)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.tasks.recommendation.histories import Recommendation
from lab.tasks.recommendation.task import RecommendationTask


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

    def recommend(self, history: Sequence[str | int], k: int = 10, exclude_seen: bool = False) -> list[Recommendation]:
        """Return the best k items to follow, best first; fewer where there are no more.

        Args:
            history: ids of items, oldest first; those that the training did not know are left out.
            k: length of the list.
            exclude_seen: leave out what the history holds.

        Raises:
            DataError: the training knew none of the items.
        """
        found: list[Recommendation] = self.task.predict(history, k=k, exclude_seen=exclude_seen)
        return found

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
        if not len(histories):
            return []
        found: list[list[Recommendation]] = self.task.predict(list(histories), batch_size, k, exclude_seen)
        return found


def load_recommender(ckpt: str | Path, device: str = "cpu") -> TrainedRecommender:
    """Return the recommender of a checkpoint, whatever strategy it was trained under.

    Args:
        ckpt: the folder, ``runs/.../checkpoints/best.ckpt`` for instance.
        device: where to compute.

    Raises:
        CheckpointError: it is missing, damaged or of another task.
    """
    return TrainedRecommender(RecommendationTask.load_from_checkpoint(ckpt).to(device))
