"""How text classifiers are measured and what they ask of their data; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lab.config.kinds import Asks, ClassLearning, TaskSettings, TextEvalSettings
from lab.config.value_types import WholeAbove0


class TextClassificationEval(TextEvalSettings):
    """What a text classifier is measured by, and what ``stage=predict`` writes."""

    name: Literal["text_classification"]
    monitor: Literal["accuracy", "macro_f1", "f1", "matthews", "loss"]
    top_k: WholeAbove0


class TextClassificationAsks(Asks):
    """What a text classifier asks of its data.

    Attributes:
        max_length: the most tokens of a sequence, special ones too.
    """

    max_length: WholeAbove0 | None = None


def conflict(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why sequences do not fit the network, or windows not the texts; or None."""
    data, longest = config["data"], config["model"]["net"].get("max_length")
    length, stride = data.get("max_length"), data.get("window_stride")
    if isinstance(longest, int) and isinstance(length, int) and 0 < longest < length:
        return "data.max_length", (
            f"the network reads {longest} tokens at most (model.net.max_length), and texts have up to {length}; lower "
            "data.max_length, and cut longer texts into windows by data.window_stride"
        )
    if stride and isinstance(length, int) and stride > length - 2:
        return "data.window_stride", (
            f"windows of {length} tokens with [CLS] and [SEP] hold {length - 2} of a text, and starts {stride} apart "
            f"would leave tokens out; take at most {length - 2}"
        )
    if stride and data.get("second_column"):
        return "data.window_stride", "pairs of texts are cut off, not read in windows; leave it 0"
    return None


SETTINGS = TaskSettings(
    TextClassificationEval,
    TextClassificationAsks,
    from_data=("vocab_size", "num_classes"),
    conflict=conflict,
    learning=ClassLearning,
)
