"""What the errors of forecasts are shown as: metrics by name, and rows of a table."""

from __future__ import annotations

import math
import re
from typing import Any

from torch import Tensor

from lab.structures import Table
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.metrics import ForecastErrors, Measured


def metric_name(channel: str) -> str:
    """Return a channel's name as a part of a metric's name: letters, digits, ``_``, ``.`` and ``-`` alone."""
    return re.sub(r"[^\w.-]+", "_", channel)


def figures(measured: Measured, spec: FieldSpec) -> dict[str, float]:
    """Return the metrics of an evaluation: means over lead times, NaN where nothing defines them."""
    network = measured.errors.get("network")
    if network is None:
        return {"relative_l2": math.nan}
    values = {"relative_l2": float(network.l2.mean())}
    names = [metric_name(name) for name in spec.channels]
    values |= _of_channels("rmse", network.rmse, names)
    values |= _of_channels("acc", network.acc, names)
    for forecast in ("persistence", "climatology"):
        if (errors := measured.errors.get(forecast)) is not None:
            values[f"{forecast}_relative_l2"] = float(errors.l2.mean())
            values |= _of_channels(f"{forecast}_rmse", errors.rmse, names)
    return values


def _of_channels(metric: str, values: Tensor, names: list[str]) -> dict[str, float]:
    return {f"{metric}_{name}": value for name, value in zip(names, values.mean(0).tolist(), strict=True)}


def error_rows(measured: Measured, spec: FieldSpec) -> Table:
    """Return a row for each forecast, channel and lead time.

    Its columns are ``forecast``, ``channel``, ``step``, ``lead`` (in the time's unit), ``rmse``, ``acc``,
    ``relative_l2`` and ``not_finite``, the number of the network's forecasts that are not.
    """
    return [
        _row(name, errors, measured, spec, step, number)
        for name, errors in measured.errors.items()
        for number in range(len(spec.channels))
        for step in range(len(errors.l2))
    ]


def _row(name: str, errors: ForecastErrors, measured: Measured, spec: FieldSpec, step: int, number: int) -> Any:
    return {
        "forecast": name,
        "channel": spec.channels[number],
        "step": step + 1,
        "lead": (step + 1) * spec.step,
        "rmse": float(errors.rmse[step, number]),
        "acc": float(errors.acc[step, number]),
        "relative_l2": float(errors.channel_l2[step, number]),
        "not_finite": measured.bad[step] if name == "network" else 0,
    }
