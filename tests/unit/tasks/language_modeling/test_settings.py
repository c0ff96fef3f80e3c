"""Combinations of data and model that the settings refuse."""

from __future__ import annotations

from typing import Any

import pytest

from lab.tasks.language_modeling.settings import conflict


def config(objective: str, given: str, max_length: int | None = None, length: int = 64) -> dict[str, Any]:
    model = {"name": "bert_tiny", "asks": {"objective": objective}, "net": {"max_length": max_length}}
    return {"model": model, "data": {"name": "text", "objective": given, "max_length": length}}


@pytest.mark.parametrize(
    ("words", "key", "said"),
    [
        (
            ("masked", "causal"),
            "data.name",
            "its samples are for causal models, and model=bert_tiny is masked; take da",
        ),
        (("causal", "masked"), "data.name", "take data=text"),
        (
            ("causal", "causal", 32, 64),
            "data.max_length",
            "has positions for 32 tokens; take data.max_length=32 or less",
        ),
    ],
)
def test_conflicts(words: tuple[Any, ...], key: str, said: str) -> None:
    found = conflict(config(*words))
    assert found is not None
    assert found[0] == key
    assert said in found[1]


@pytest.mark.parametrize("words", [("causal", "causal"), ("masked", "masked", 64, 64), ("causal", "causal", 0, 64)])
def test_what_suits(words: tuple[Any, ...]) -> None:
    assert conflict(config(*words)) is None
