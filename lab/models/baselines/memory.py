"""The base of recommenders that are not trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lab.structures import SequenceBatch, SequenceTargets, Term


class Memory(nn.Module, ABC):
    """A ``lab.structures.Recommender`` without parameters, to which the training data is passed once.

    It memorises the data in buffers, so that a checkpoint holds all of it. It has no loss.
    """

    @abstractmethod
    def memorize(self, items: Tensor, offsets: Tensor) -> None:
        """Memorise the training data; it replaces what was memorised before.

        Args:
            items: (E,) int64, the items (1 to I) of all sequences one after the other, each oldest event first.
            offsets: (S + 1,) int64: sequence s holds ``items[offsets[s]:offsets[s + 1]]``; later sequences are more
                recent.
        """

    @abstractmethod
    def encode(self, batch: SequenceBatch, queries: Tensor) -> Any:
        """See ``lab.structures.Recommender``."""

    @abstractmethod
    def score(self, states: Any, items: slice | Tensor) -> Tensor:
        """See ``lab.structures.Recommender``."""

    def forward(self, batch: SequenceBatch) -> None:
        """Do nothing: there is nothing to learn."""

    def totals(self, targets: SequenceTargets) -> Mapping[str, float]:
        """Return an empty mapping: there is no normaliser."""
        return {}

    def loss(self, outputs: None, targets: SequenceTargets) -> dict[str, Term]:
        """Return an empty dict: there is no term."""
        return {}
