"""Generated sessions: a Markov chain over items, for which the best possible metrics are known.

Each item is followed by one of a few items with known probabilities. The best list after an item has its most likely
successors first, and ``optimum`` returns the average metrics of these lists.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from lab.errors import ConfigError
from lab.ranges import AtMost, Below, Ge, Le
from lab.tasks.recommendation.data.events import Columns, Events, Ints, read_events
from lab.tasks.recommendation.data.module import RecommendationDataModule, Splits
from lab.tasks.recommendation.data.sequences import Sequences

VERSION = 1
"""The version of the generated data, part of its fingerprint: raised when the data changes."""


@dataclass(eq=False)
class SyntheticSessionsDataModule(RecommendationDataModule):
    """``data=sessions_synthetic``: generated sessions. The chain is the same for every seed, the training set is not.

    Args:
        num_items: I; every item begins at least one training session.
        num_successors: the number of items that can follow an item.
        skew: the probability of the r-th successor is proportional to ``r ** -skew``.
        mean_length: mean number of events; from the second event on a session ends with constant probability.
        max_session: the most events of a session.
        num_train: training sessions.
        num_val: validation sessions.
        num_test: test sessions.
    """

    _: KW_ONLY
    num_items: Annotated[int, Ge(2), Le(10000), AtMost("num_train")] = 200
    num_successors: Annotated[int, Ge(2), AtMost("num_items")] = 8
    skew: Annotated[float, Ge(0), Le(100)] = 1.2
    mean_length: Annotated[float, Ge(2), Below("max_session")] = 6.0
    max_session: Annotated[int, Ge(3), Le(1000)] = 30
    num_train: Annotated[int, Ge(1), Le(5000000)] = 4000
    num_val: Annotated[int, Ge(1), Le(5000000)] = 400
    num_test: Annotated[int, Ge(1), Le(5000000)] = 800

    def __post_init__(self) -> None:
        super().__post_init__()
        items, longest = self.num_items, self.max_session
        if not 2 <= self.num_successors <= items:
            raise ConfigError(f"data.num_successors={self.num_successors} must be from 2 to data.num_items={items}")
        if self.num_train < items:
            raise ConfigError(f"data.num_train={self.num_train} must be at least data.num_items={items}")
        if not 2 <= self.mean_length < longest:
            raise ConfigError(f"data.mean_length={self.mean_length} must be from 2 to below data.max_session={longest}")
        self.sizes = {"train": self.num_train, "val": self.num_val, "test": self.num_test}

    @cached_property
    def chances(self) -> NDArray[np.float64]:
        """(num_successors,) the probability of the r-th successor, descending."""
        weights = np.arange(1, self.num_successors + 1, dtype=np.float64) ** -self.skew
        return weights / weights.sum()

    @cached_property
    def successors(self) -> Ints:
        """(I, num_successors) int64 item indices from 0: the successors of each item, the most likely first."""
        generator = np.random.default_rng((VERSION, self.num_items, self.num_successors))
        return np.argsort(generator.random((self.num_items, self.num_items)), axis=1)[:, : self.num_successors]

    def optimum(self, k: int) -> dict[str, float]:
        """Return the average recall, MRR and NDCG at k of the best possible ranking."""
        chances = np.zeros(k)
        chances[: self.num_successors] = self.chances[:k]
        ranks = np.arange(1, k + 1)
        return {
            f"recall_{k}": float(chances.sum()),
            f"mrr_{k}": float((chances / ranks).sum()),
            f"ndcg_{k}": float((chances / np.log2(ranks + 1)).sum()),
        }

    def read(self) -> Splits:
        """Generate all sessions."""
        names = tuple(f"item{number:0{len(str(self.num_items))}d}" for number in range(1, self.num_items + 1))
        train, val, test = (self._walk(split) for split in ("train", "val", "test"))
        steps = [
            {
                "step": name,
                "sessions": len(part),
                "events": len(part.items),
                "items": len(np.unique(part.items)),
                "note": "",
            }
            for name, part in (("train", train), ("val", val), ("test", test))
        ]
        return Splits(names, train, val, test, steps=steps)

    def read_inputs(self, path: Path) -> Events:
        """Read a CSV with columns session, item and time."""
        return read_events(path, Columns("session", "item", "time"))

    def _walk(self, split: str) -> Sequences:
        """Generate all sessions of a split in parallel."""
        count = self.sizes[split]
        seed = self.seed if split == "train" else 0  # so that results of several seeds compare
        generator = np.random.default_rng((VERSION, ("train", "val", "test").index(split), seed))
        grid = np.zeros((count, self.max_session), dtype=np.int64)
        grid[:, 0] = generator.integers(self.num_items, size=count)
        if split == "train":
            grid[: self.num_items, 0] = np.arange(self.num_items)  # so that every item is known
        lengths = np.minimum(1 + generator.geometric(1 / (self.mean_length - 1), size=count), self.max_session)
        for step in range(1, self.max_session):
            ranks = generator.choice(self.num_successors, size=count, p=self.chances)
            grid[:, step] = self.successors[grid[:, step - 1], ranks]
        inside = np.arange(self.max_session) < lengths[:, None]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Sequences(grid[inside] + 1, offsets, np.array([f"{split}{n}" for n in range(count)], dtype=object))
