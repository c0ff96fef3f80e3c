"""Classification of texts and pairs of texts: description, targets, predictions and the protocol.

B texts in a batch, W windows of them (W = B unless long texts are cut into several), T tokens, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor

from lab.structures.common import Movable, RankedLabels, split_packed
from lab.structures.text import TextBatch, TextSpec


@dataclass(frozen=True)
class TextClassificationSpec(TextSpec):
    """What data for text classification tells.

    Attributes:
        class_names: the name of each label, in label order (K names).
        class_counts: texts of each class to train on.
        pairs: a sample is a pair of texts.
        window_stride: tokens between the starts of windows of a longer text; 0: longer texts are cut off.
        max_windows: the most windows of a text.
    """

    task: str = "text_classification"
    class_names: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    pairs: bool = False
    window_stride: int = 0
    max_windows: int = 32

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


@dataclass
class TextClassificationBatch(TextBatch[TextClassificationTargets]):
    """A batch of texts, each as one or several windows of tokens; see ``TextBatch``.

    ``input_ids``, ``attention_mask``, ``token_type_ids`` and ``lengths`` are of the W windows, those of one text after
    the other; ``targets``, ``sample_ids`` and ``valid`` are of the B texts. So a text is counted once, whatever the
    number of its windows.

    Attributes:
        windows: the number of windows of each text; empty: one each.
    """

    windows: tuple[int, ...] = ()

    @property
    def num_samples(self) -> int:
        """B."""
        return len(self.valid)

    def rows(self, chosen: slice) -> Self:
        """Return the part of the batch with some consecutive texts."""
        if not self.windows:
            return super().rows(chosen)
        part = split_packed(self.windows, chosen)
        return replace(
            self,
            input_ids=self.input_ids[part],
            attention_mask=None if self.attention_mask is None else self.attention_mask[part],
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids[part],
            lengths=self.lengths[part],
            targets=self.targets.rows(chosen),
            sample_ids=self.sample_ids[chosen],
            valid=self.valid[chosen],
            windows=self.windows[chosen],
        )


class ClassifiedText(RankedLabels):
    """What a text was taken for; see ``RankedLabels``."""


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
