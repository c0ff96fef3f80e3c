"""Recommendations from a checkpoint, in Python, with the item ids of the data files.

recommender = lab.load_recommender("runs/.../checkpoints/best.ckpt")
recommender.recommend(["214536502", "214536506"], k=10)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.tasks.recommendation.histories import Recommendation
from lab.tasks.recommendation.task import RecommendationTask


class TrainedRecommender:
    """Recommends items that may follow the events of a session or user.

    Args:
        task: a trained task; it is set to evaluation mode.

    Attributes:
        item_names: the item ids of the data files.
    """

    def __init__(self, task: RecommendationTask) -> None:
        self.task = task.eval()
        self.item_names = task.spec.item_names

    def recommend(self, history: Sequence[str | int], k: int = 10, exclude_seen: bool = False) -> list[Recommendation]:
        """Return the k best next items, best first; fewer if there are not enough items.

        Args:
            history: ids of items, oldest first; ids that are not in the training data are left out.
            k: length of the list.
            exclude_seen: leave out items in the history.

        Raises:
            DataError: none of the items is in the training data.
        """
        found: list[Recommendation] = self.task.predict(history, k=k, exclude_seen=exclude_seen)
        return found

    def recommend_many(
        self, histories: Sequence[Sequence[str | int]], k: int = 10, exclude_seen: bool = False, batch_size: int = 256
    ) -> list[list[Recommendation]]:
        """Return a list for each history, empty if none of its items is in the training data.

        Args:
            histories: lists of item ids, oldest first; ids that are not in the training data are left out.
            k: length of the lists.
            exclude_seen: leave out items in the history.
            batch_size: histories in one forward pass.
        """
        if not len(histories):
            return []
        found: list[list[Recommendation]] = self.task.predict(list(histories), batch_size, k, exclude_seen)
        return found


def load_recommender(ckpt: str | Path, device: str = "cpu") -> TrainedRecommender:
    """Return the recommender of a checkpoint, trained under any strategy.

    Args:
        ckpt: the checkpoint's folder, ``runs/.../checkpoints/best.ckpt`` for instance.
        device: the device to compute on.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or of another task.
    """
    return TrainedRecommender(RecommendationTask.load_from_checkpoint(ckpt).to(device))
