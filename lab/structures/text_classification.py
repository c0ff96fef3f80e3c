"""Classification of texts and pairs of texts: description, targets and the protocol. B texts, T tokens, K classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from lab.structures.common import Movable
from lab.structures.text import TextBatch, TextSpec


@dataclass(frozen=True)
class TextClassificationSpec(TextSpec):
    """What data for text classification tells.

    Attributes:
        class_names: the name of each label, in label order (K names).
        class_counts: texts of each class to train on.
        pairs: a sample is a pair of texts.
        window_stride: tokens between the starts of windows of a longer text; 0: longer texts are cut off.
    """

    task: str = "text_classification"
    class_names: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    pairs: bool = False
    window_stride: int = 0

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    def net_arguments(self) -> dict[str, Any]:
        """Return the sizes of vocabulary and head."""
        return {"vocab_size": self.vocab_size, "num_classes": self.num_classes}

    def describe(self) -> str:
        """Return the classes and the sizes."""
        return f"{list(self.class_names)}, {super().describe()}"


@dataclass
class TextClassificationTargets(Movable):
    """What the loss compares with.

    Attributes:
        labels: (B,) int64 in 0..K-1, -1 where none is known.
    """

    labels: Tensor

    def rows(self, chosen: slice) -> TextClassificationTargets:
        """Return the targets of consecutive texts."""
        return TextClassificationTargets(self.labels[chosen])


TextClassificationBatch = TextBatch[TextClassificationTargets]


@runtime_checkable
class TextClassifier(Protocol):
    """The protocol of architectures that classify text. The task has the loss.

    Attributes:
        max_length: the most tokens that it reads; 0 where there is no limit.
    """

    max_length: int

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        num_tokens: int | None = None,
    ) -> Tensor:
        """Return logits (B, K); see ``TextEncoder.encode`` for the arguments."""
        ...
