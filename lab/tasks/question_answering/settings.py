"""How answers are chosen and measured, and what answerers ask of their data; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from lab.config.kinds import Asks, TaskSettings, TextEvalSettings
from lab.config.value_types import Float, Int, WholeAbove0


class AnsweringEval(TextEvalSettings):
    """How answers are chosen. Exact match and F1 are always computed."""

    name: Literal["question_answering"]
    n_best: Annotated[Int, Field(gt=0, le=1000)]
    max_answer_length: WholeAbove0
    null_threshold: Float
    answer_text: Literal["offsets", "aligned"]


class AnsweringAsks(Asks):
    """What an answerer asks of its data.

    Attributes:
        max_length: the most tokens of a window, special ones too.
    """

    max_length: WholeAbove0 | None = None


MOST_STRIDE = 128
"""Tokens between windows unless something else is given: run_squad.py's, for windows of 384."""


def default_stride(max_length: int, max_query_length: int) -> int:
    """Return 128, or half of what a window holds of the text beside the longest question, if that is less."""
    return max(1, min(MOST_STRIDE, (max_length - max_query_length - 3) // 2))


def length_problem(max_length: int, stride: int | None, max_query_length: int) -> tuple[str, str] | None:
    """Return the key and what is wrong if windows of these lengths cannot be cut, else None.

    Args:
        max_length: the most tokens of a window.
        stride: tokens between the beginnings of two windows; None: ``default_stride``.
        max_query_length: the most tokens of a question.
    """
    room = max_length - max_query_length - 3  # of [CLS], [SEP] and [SEP]
    if room < 1:
        return "data.max_query_length", (
            f"a question of {max_query_length} tokens leaves no room for its text in a window of {max_length} "
            f"(data.max_length), 3 of which are special; {max(1, max_length // 4)} would"
        )
    if stride is not None and stride >= room:
        return "data.stride", (
            f"windows {stride} tokens apart would not overlap: beside the longest question (data.max_query_length="
            f"{max_query_length}) a window of {max_length} has {room} tokens of the text; {max(1, room // 2)} would"
        )
    return None


def conflict(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return lengths that contradict each other, or windows that are longer than the network reads."""
    data, net = config["data"], config["model"]["net"]
    length, stride, query = (data.get(name) for name in ("max_length", "stride", "max_query_length"))
    longest = net.get("max_length")
    if not isinstance(length, int) or not isinstance(query, int) or not isinstance(stride, int | None):
        return None
    if isinstance(longest, int) and length > longest > 0:
        return "data.max_length", f"windows of {length} tokens are longer than the network reads ({longest})"
    return length_problem(length, stride, query)


SETTINGS = TaskSettings(AnsweringEval, AnsweringAsks, ("vocab_size",), conflict)
