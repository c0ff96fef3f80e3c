"""How regressors are measured and what they ask of their data; no torch."""

from __future__ import annotations

from typing import Literal

from lab.config.kinds import Asks, EvalSettings, TaskSettings
from lab.config.schemas import Bool, WholeAbove0


class TabularEval(EvalSettings):
    """What a regressor is measured by, the RMSE always."""

    name: Literal["tabular"]
    r2: Bool  # the share of the variance that is explained
    max_rows: WholeAbove0 | None  # measure at most so many, chosen at random

    @property
    def most_samples(self) -> int | None:
        """``max_rows``."""
        return self.max_rows


class TabularAsks(Asks):
    """What a regressor asks of its data.

    Attributes:
        scaled: whether features come with mean 0 and deviation 1.
    """

    scaled: Bool | None = None


SETTINGS = TaskSettings(TabularEval, TabularAsks, from_data=("num_features",))
