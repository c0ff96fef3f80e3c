"""What the errors of forecasts are shown as: metrics by name, and rows of a table."""

from __future__ import annotations

import csv
import io
import math
import re
from typing import Any

from torch import Tensor

from lab.structures import Table
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.metrics import ForecastErrors, MeasuredForecasts

MOST_LEADS = 8
"""Lead times in the printed table."""
MANY_CHANNELS = 6
"""Of more channels the printed table has the first and the last lead time alone."""


def metric_name(channel: str) -> str:
    """Return a channel's name as a part of a metric's name: letters, digits, ``_``, ``.`` and ``-`` alone."""
    return re.sub(r"[^\w.-]+", "_", channel)


def figures(measured: MeasuredForecasts, spec: FieldSpec) -> dict[str, float]:
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


def error_rows(measured: MeasuredForecasts, spec: FieldSpec) -> Table:
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


def _row(
    name: str, errors: ForecastErrors, measured: MeasuredForecasts, spec: FieldSpec, step: int, number: int
) -> Any:
    values = {"rmse": errors.rmse, "acc": errors.acc, "relative_l2": errors.channel_l2}
    return {
        "forecast": name,
        "channel": spec.channels[number],
        "step": step + 1,
        "lead": (step + 1) * spec.step,
        **{key: _defined(value[step, number]) for key, value in values.items()},
        "not_finite": measured.bad[step] if name == "network" else 0,
    }


def _defined(value: Tensor) -> float | None:
    return None if math.isnan(float(value)) else float(value)


def lead_time_rows(measured: MeasuredForecasts, spec: FieldSpec) -> Table:
    """Return a row for each channel and some lead times, the network's errors beside those of the baselines.

    Of many lead times some are chosen, the first and the last among them; ``error_rows`` has all. ``not_finite`` is a
    column where a forecast diverged.
    """
    steps, channels = len(measured.bad), len(spec.channels)
    most = min(steps, MOST_LEADS if channels <= MANY_CHANNELS else 2)
    shown = sorted({round(place * (steps - 1) / max(1, most - 1)) for place in range(most)})
    return [_wide_row(measured, spec, step, channel) for channel in range(channels) for step in shown]


def _wide_row(measured: MeasuredForecasts, spec: FieldSpec, step: int, channel: int) -> dict[str, Any]:
    network = measured.errors["network"]
    row: dict[str, Any] = {"channel": spec.channels[channel]}
    if spec.evolves:
        row["lead"] = f"{(step + 1) * spec.step:g} {spec.step_unit}".rstrip()
    row["rmse"] = _defined(network.rmse[step, channel])
    row |= {name: _defined(errors.rmse[step, channel]) for name, errors in measured.errors.items() if name != "network"}
    if not bool(network.acc.isnan().all()):
        row["acc"] = _defined(network.acc[step, channel])
    row["relative_l2"] = _defined(network.channel_l2[step, channel])
    return row | ({"not_finite": measured.bad[step]} if measured.first_bad else {})


def as_csv(rows: Table) -> str:
    """Return rows with equal columns as CSV; what is not defined is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def describe(measured: MeasuredForecasts, spec: FieldSpec, pooled: bool) -> str:
    """Return how errors were computed, and whether forecasts diverged and from which step on."""
    where = "weighted by the cosine of latitude" if spec.latitudes else "all points alike"
    how = "pooled over samples" if pooled else "the mean of the samples' own"
    said = f"rmse in the channels' units, {where}, {how}"
    if spec.evolves:
        said += f"; means over lead times {spec.step:g} to {len(measured.bad) * spec.step:g} {spec.step_unit}".rstrip()
    if measured.first_bad:
        said += (
            f"; {max(measured.bad)} of {measured.count} forecasts are not finite, the first from step "
            f"{measured.first_bad} on: their errors are not defined"
        )
    return said
