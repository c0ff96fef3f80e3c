"""Metrics that are not defined: NaN in memory, empty in metrics.csv, null in run.json and W&B, a dash on the screen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def with_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with NaN replaced by None."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}
