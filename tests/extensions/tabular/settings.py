"""Settings of the evaluation (the group ``eval``) and of what models ask of their data. No torch here."""

from __future__ import annotations

from typing import Literal

from lab.config.kinds import Asks, EvalSettings, TaskSettings
from lab.config.value_types import Bool, WholeAbove0


class TabularEval(EvalSettings):
    """Settings of the evaluation. The RMSE and the mean absolute error are always computed."""

    name: Literal["tabular"]
    r2: Bool  # also compute R², the share of the variance that is explained
    max_rows: WholeAbove0 | None  # evaluate at most this many rows, chosen at random

    @property
    def most_samples(self) -> int | None:
        """Return ``max_rows``: the most samples of an evaluation."""
        return self.max_rows


class TabularAsks(Asks):
    """What a model asks of its data (``model.asks`` in the config).

    Attributes:
        scaled: whether the features are standardised to mean 0 and deviation 1.
    """

    scaled: Bool | None = None


SETTINGS = TaskSettings(TabularEval, TabularAsks, from_data=("num_features",))
