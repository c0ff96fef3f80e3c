"""Settings of the evaluation (the group ``eval``) and of what language models ask of their data. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from lab.config.kinds import Asks, TaskSettings, TextEvalSettings
from lab.config.value_types import Bool, Float, Int, PartAbove0, Strict, WholeAbove0, WholeFrom0

FITTING = {"causal": "text", "masked": "pretraining"}
"""Data that works with no network, for each objective."""


class LanguageModelingEval(TextEvalSettings):
    """A language model is measured by the whole text, which has no settings.

    Attributes:
        top_k: so many words are listed for each hidden one in a prediction.
    """

    name: Literal["language_modeling"]
    top_k: WholeAbove0


class LanguageModelingAsks(Asks):
    """What a language model asks of its data.

    Attributes:
        objective: what it learns from: the next token, or tokens that were hidden.
        max_length: the most tokens of a sequence.
        lowercase: masked: whether text is lower-cased, accents stripped; None: as the data has it.
    """

    objective: Literal["causal", "masked"] | None = None
    max_length: WholeAbove0 | None = None
    lowercase: Bool | None = None


class GenerationSettings(Strict):
    """How ``stage=predict`` continues texts: the group ``generation``, which only this kind has."""

    max_new_tokens: Annotated[Int, Field(gt=0, le=1_000_000)]
    sample: Bool
    temperature: Annotated[Float, Field(le=1000)]
    top_k: WholeAbove0 | None
    top_p: PartAbove0 | None
    repetition_penalty: Annotated[Float, Field(gt=0, le=1000)]
    stop: list[Annotated[str, Field(min_length=1, max_length=1000)]]
    num_samples: Annotated[Int, Field(gt=0, le=10_000)]
    seed: WholeFrom0
    stream: Bool | None

    @field_validator("temperature")
    @classmethod
    def _is_above_0(cls, value: float) -> float:
        if value <= 0:
            raise ValueError("should be above 0; generation.sample=false takes the most probable token")
        return value


def conflict(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why this data does not suit this model: of another objective, or with sequences that are too long."""
    model, data = config["model"], config["data"]
    asked, given = model.get("asks", {}).get("objective"), data.get("objective")
    if asked is not None and given is not None and given != asked:
        return "data.name", (
            f"its samples are for {given} models, and model={model['name']} is {asked}; take data={FITTING[asked]}, or "
            f"another one of that objective"
        )
    most, length = model["net"].get("max_length"), data.get("max_length")
    if isinstance(most, int) and isinstance(length, int) and 0 < most < length:
        return "data.max_length", (
            f"model={model['name']} has positions for {most} tokens; take data.max_length={most} or less, or "
            f"model.net.max_length={length}"
        )
    return None


SETTINGS = TaskSettings(
    LanguageModelingEval,
    LanguageModelingAsks,
    from_data=("vocab_size",),
    conflict=conflict,
    groups={"generation": GenerationSettings},
)
