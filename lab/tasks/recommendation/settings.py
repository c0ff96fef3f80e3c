"""Settings of the evaluation (the group ``eval``) and of what recommenders ask of their data. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from lab.config.kinds import Asks, EvalSettings, TaskSettings
from lab.config.value_types import Bool, Float, Int, Text, WholeAbove0, WholeFrom0
from lab.errors import closest


class RecommendationEval(EvalSettings):
    """Settings of the evaluation of a recommender."""

    name: Literal["recommendation"]
    protocol: Literal["full", "sampled"]
    also: Literal["full", "sampled"] | None
    ks: Annotated[list[WholeAbove0], Field(min_length=1)]
    monitor: Text | None
    ties: Literal["standard", "conservative", "median"]
    exclude_seen: Bool
    exclude_train: Bool
    num_negatives: Annotated[Int, Field(gt=0, le=1_000_000)]
    distribution: Literal["uniform", "popularity"]
    seed: WholeFrom0
    max_sequences: WholeAbove0 | None
    top_k: Annotated[Int, Field(gt=0, le=1_000_000)]

    @property
    def most_samples(self) -> int | None:
        """Return ``max_sequences``: the most samples of an evaluation."""
        return self.max_sequences

    @property
    def sample_seed(self) -> int:
        """Return ``seed``: it decides which samples are chosen."""
        return self.seed

    @field_validator("also")
    @classmethod
    def _other_protocol(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value == info.data.get("protocol"):
            raise ValueError("is eval.protocol already; name the other one, or null")
        return value

    @field_validator("monitor")
    @classmethod
    def _monitor_is_measured(cls, value: str | None, info: ValidationInfo) -> str | None:
        names = [f"{name}_{k}" for name in ("recall", "mrr", "ndcg") for k in info.data.get("ks", [])]
        if value is not None and names and value not in names:
            raise ValueError(f"should be one of {', '.join(names)}, or null{closest(value, names)}")
        return value


class RecommendationAsks(Asks):
    """What a recommender asks of its data.

    Attributes:
        batching: the form of training batches, see ``lab.structures.Recommender``.
        max_length: the most events of a sequence.
        num_negatives: the number of items that did not follow, per position or step.
        negative_alpha: negatives are drawn in proportion to support to this power.
    """

    batching: Literal["sequences", "lanes"] | None = None
    max_length: WholeAbove0 | None = None
    num_negatives: WholeFrom0 | None = None
    negative_alpha: Annotated[Float, Field(ge=0, le=1)] | None = None


def conflict(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the conflict if lanes are to be trained with ``strategy=dp`` (replicas in one process), else None."""
    if config["strategy"]["name"] != "dp" or config["model"].get("asks", {}).get("batching") != "lanes":
        return None
    return "strategy.name", (
        f"model={config['model']['name']} trains in lanes, whose states replicas do not share; strategy=ddp splits "
        "lanes over processes"
    )


SETTINGS = TaskSettings(
    RecommendationEval,
    RecommendationAsks,
    from_data=("num_items", "num_sequences", "num_events", "item_counts"),
    conflict=conflict,
)
