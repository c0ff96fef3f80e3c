"""Pictures of forecasts: truth, prediction and error on a common scale, rollouts that move, errors by lead time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from lab.report.animation import Animation
from lab.report.canvas import contact_sheet
from lab.report.curves import Curve, axis_of, draw_curves
from lab.report.maps import AROUND_0, draw_map, range_of
from lab.structures.operator_learning import FieldBatch, FieldSpec
from lab.tasks.operator_learning.metrics import MeasuredForecasts
from lab.tasks.operator_learning.spectra import Spectra

MOST_CHANNELS = 4
"""Channels that are drawn, the first ones."""
MOST_FRAMES = 48
"""Of an animation; a longer rollout is shown in even steps."""
Values = npt.NDArray[np.float32]


def forecast_panels(task: Any, outputs: Tensor, batch: FieldBatch, count: int) -> Iterator[Image.Image]:
    """Yield a picture of each sample at its last lead time: truth, prediction and error of each channel."""
    for row in batch.valid.nonzero().flatten().tolist()[:count]:
        step = outputs.shape[1] - 1
        found, truth = (task.in_units(fields[row, step]) for fields in (outputs, batch.targets.fields))
        yield compared(as_array(truth), as_array(found), task.spec, step)


def as_array(fields: Tensor) -> Values:
    """Return fields on the host."""
    array: Values = fields.detach().float().cpu().numpy()
    return array


def lead_time(spec: FieldSpec, step: int) -> str:
    """Return how far ahead a step is, from 0; empty for a steady problem."""
    if not spec.evolves:
        return ""
    unit = f" {spec.step_unit}" if spec.step_unit else ""
    return f"+{(step + 1) * spec.step:g}{unit}"


def named(spec: FieldSpec, channel: int) -> str:
    """Return a channel's name with its unit."""
    unit = spec.units[channel]
    return f"{spec.channels[channel]} in {unit}" if unit else spec.channels[channel]


def compared(truth: Values, found: Values, spec: FieldSpec, step: int) -> Image.Image:
    """Return truth, prediction and error of one lead time, a row for each of the first channels.

    Truth and prediction have one scale, that of the truth; the scale of the error is even about 0.

    Args:
        truth: (C, *grid) in the channels' units.
        found: (C, *grid) likewise.
        spec: names the channels.
        step: of the forecast, from 0.
    """
    parts: list[Image.Image] = []
    for channel in range(min(MOST_CHANNELS, len(spec.channels))):
        one, two, name = truth[channel], found[channel], f"{named(spec, channel)} {lead_time(spec, step)}"
        if one.ndim == 1:
            parts += [_profiles(one, two, name)]
            continue
        low, high = range_of(one)
        most = max(abs(value) for value in range_of(two - one))
        parts += [
            draw_map(north_up(one, spec), low, high, f"truth: {name}"),
            draw_map(north_up(two, spec), low, high, "prediction"),
            draw_map(north_up(two - one, spec), -most, most, "prediction - truth", AROUND_0),
        ]
    return contact_sheet(parts, columns=3 if truth.ndim == 3 else 1)


def north_up(field: Values, spec: FieldSpec) -> Values:
    """Return a map with north at the top: rows of rising latitude are turned round."""
    rising = len(spec.latitudes) > 1 and spec.latitudes[0] < spec.latitudes[-1]
    return field[::-1] if rising and len(field) == len(spec.latitudes) else field


def _profiles(truth: Values, found: Values, name: str) -> Image.Image:
    points = range(len(truth))
    curves = [Curve("truth", points, truth.tolist(), dashed=True), Curve("prediction", points, found.tolist())]
    return draw_curves(curves, name, ("point", ""), y_axis=axis_of(truth.tolist()))


def moving(found: Values, spec: FieldSpec, frames_per_second: int, truth: Values | None = None) -> Animation:
    """Return a rollout as an animation, beside the truth where it is known; the scale is that of all frames together.

    Args:
        found: (S, C, *grid) in the channels' units.
        spec: names the channels.
        frames_per_second: how fast.
        truth: (S, C, *grid) likewise; None: the prediction stands alone.
    """
    channels = range(min(MOST_CHANNELS, len(spec.channels)))
    scales = [range_of((found if truth is None else truth)[:, channel]) for channel in channels]
    shown = np.unique(np.linspace(0, len(found) - 1, min(MOST_FRAMES, len(found))).round().astype(int)).tolist()
    frames = [_frame(found[step], None if truth is None else truth[step], spec, step, scales) for step in shown]
    return Animation(frames, frames_per_second)


def _frame(
    found: Values, truth: Values | None, spec: FieldSpec, step: int, scales: Sequence[tuple[float, float]]
) -> Image.Image:
    parts: list[Image.Image] = []
    for channel, (low, high) in enumerate(scales):
        name = f"{named(spec, channel)} {lead_time(spec, step)}"
        if found.ndim == 2:
            curves = [Curve("prediction", range(found.shape[1]), found[channel].tolist())]
            if truth is not None:
                curves.insert(0, Curve("truth", range(found.shape[1]), truth[channel].tolist(), dashed=True))
            parts.append(draw_curves(curves, name, ("point", ""), y_axis=axis_of([low, high])))
            continue
        if truth is not None:
            parts.append(draw_map(north_up(truth[channel], spec), low, high, f"truth: {name}"))
        said = "prediction" if truth is not None else f"prediction: {name}"
        parts.append(draw_map(north_up(found[channel], spec), low, high, said))
    return contact_sheet(parts, columns=1 if truth is None or found.ndim == 2 else 2)


def error_curves(measured: MeasuredForecasts, spec: FieldSpec) -> Image.Image:
    """Return the RMSE of each channel against lead time, of the network and beside it what it should beat."""
    leads = [(step + 1) * spec.step for step in range(len(measured.bad))]
    label = f"lead time in {spec.step_unit}" if spec.step_unit else "lead time"
    pictures = []
    for channel in range(min(MOST_CHANNELS, len(spec.channels))):
        curves = [
            Curve(name, leads, errors.rmse[:, channel].tolist(), dashed=name != "network")
            for name, errors in measured.errors.items()
        ]
        pictures.append(draw_curves(curves, f"RMSE: {named(spec, channel)}", (label, "")))
    return contact_sheet(pictures)


def spectrum_curves(spectra: Spectra, spec: FieldSpec) -> Image.Image:
    """Return the spectra of each channel: the truth, and the forecasts of the first and the last lead time."""
    steps, _, numbers = spectra.truth.shape
    kind = "zonal wave number" if spec.latitudes else "wave number"
    pictures = []
    for channel in range(min(MOST_CHANNELS, len(spec.channels))):
        rows: Mapping[str, Tensor] = {"truth": spectra.truth[-1, channel]}
        rows = {**rows, f"network {lead_time(spec, 0)}".rstrip(): spectra.network[0, channel]}
        if steps > 1:
            rows = {**rows, f"network {lead_time(spec, steps - 1)}": spectra.network[-1, channel]}
        curves = [
            Curve(name, range(1, numbers), values[1:].tolist(), dashed=name == "truth") for name, values in rows.items()
        ]
        pictures.append(draw_curves(curves, f"power: {named(spec, channel)}", (kind, ""), (True, True)))
    return contact_sheet(pictures)
