"""What an operator is fed: the state and the targets as maps or profiles, in their units; and what the data holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from lab.report.canvas import contact_sheet
from lab.report.curves import Curve, axis_of, draw_curves
from lab.report.maps import RISING, draw_map, range_of
from lab.report.sanity import DAMAGED, OUTLIERS, SplitLook
from lab.structures.operator_learning import FieldBatch
from lab.tasks.operator_learning.forecasts import FloatFields
from lab.tasks.operator_learning.pictures import as_array, lead_time, named, north_up
from lab.training.browsing import NOT_IMAGES, BrowseCard, Browser, DataIndex

MOST_CHANNELS = 3
MOST_STEPS = 3
"""Targets that are drawn: the first, the last, and one between."""
NOT_NUMBERS, CONSTANT, FAR = "values that are not finite", "fields of one value", "fields beyond 10 deviations"
FAR_OUT = 10.0


class FieldBrowser(Browser):
    """States and targets."""

    unit = "field"
    skipped = {**NOT_IMAGES, "class balance": "fields have no classes"}  # noqa: RUF012

    def cards(self, batch: FieldBatch, augmented: bool) -> Iterator[BrowseCard]:
        """Yield the normalised state and targets of each sample, brought back to their units."""
        spec = self.spec
        given, means, stds = spec.given or spec.channels, spec.means, spec.stds
        if spec.given:
            means, stds = spec.given_means, spec.given_stds
        steps = sorted({0, batch.targets.fields.shape[1] // 2, batch.targets.fields.shape[1] - 1})[:MOST_STEPS]
        for row in batch.valid.nonzero().flatten().tolist():
            start = in_units(as_array(batch.fields[row]), means, stds, 0)
            targets = in_units(as_array(batch.targets.fields[row]), spec.means, spec.stds, 1)
            parts = [*self._given(start, given), *self._targets(start, targets, steps)]
            parts += self._forcings(batch, row)
            columns = len(steps) + 1 if start.ndim == 3 else 1
            caption = f"sample {int(batch.sample_ids[row])}: {', '.join(given)} to {', '.join(spec.channels)}"
            yield BrowseCard(contact_sheet(parts, columns=columns), f"{caption}, {targets.shape[0]} steps")

    def _given(self, start: FloatFields, names: Sequence[str]) -> list[Image.Image]:
        """Return what a steady problem reads; a problem that evolves has its state beside the targets."""
        if self.spec.evolves:
            return []
        return [
            self._draw(start[number], f"given: {names[number]}") for number in range(min(MOST_CHANNELS, len(start)))
        ]

    def _targets(self, start: FloatFields, targets: FloatFields, steps: Sequence[int]) -> list[Image.Image]:
        parts = []
        for channel in range(min(MOST_CHANNELS, targets.shape[1])):
            name = named(self.spec, channel)
            rows = [(f"{name} {lead_time(self.spec, step)}".strip(), targets[step, channel]) for step in steps]
            if self.spec.evolves:
                rows.insert(0, (f"{name} at the start", start[channel]))
            if rows[0][1].ndim == 1:
                parts.append(profiles(rows))
                continue
            low, high = range_of(*(field for _, field in rows))
            parts += [draw_map(north_up(field, self.spec), low, high, title, RISING) for title, field in rows]
        return parts

    def _forcings(self, batch: FieldBatch, row: int) -> list[Image.Image]:
        if batch.forcings is None:
            return []
        fields = as_array(batch.forcings[row, 0])
        names = self.spec.forcings
        return [
            self._draw(fields[number], f"known: {names[number]}") for number in range(min(MOST_CHANNELS, len(names)))
        ]

    def _draw(self, field: FloatFields, title: str) -> Image.Image:
        if field.ndim == 1:
            return profiles([(title, field)])
        return draw_map(north_up(field, self.spec), *range_of(field), title)

    def look(self, look: SplitLook, indices: Sequence[int], index: DataIndex) -> Iterator[None]:
        """Read samples in the units of their channels."""
        dataset, spec = self.stored(look.split), self.spec
        look.watch(OUTLIERS, CONSTANT, FAR)
        look.watch(DAMAGED, NOT_NUMBERS)
        scales = dict(zip(spec.channels, zip(spec.means, spec.stds, strict=True), strict=True))
        of_given = zip(spec.given_means, spec.given_stds, strict=True)
        given = dict(zip((f"given {name}" for name in spec.given), of_given, strict=True))
        for number in indices:
            sample, name = dataset[0, number], self.name(look.split, number)
            fields, targets = as_array(sample.fields), as_array(sample.targets)
            for channel, (title, scale) in enumerate((given or scales).items()):
                self._count(look, title, fields[channel], scale, name)
            if given:
                for channel, (title, scale) in enumerate(scales.items()):
                    self._count(look, title, targets[:, channel], scale, name)
            elif not np.isfinite(targets).all():
                look.find(NOT_NUMBERS, f"{name}, a target", int((~np.isfinite(targets)).sum()))
            index.add(look.split, number, fields.tobytes() + targets.tobytes())
            yield
        look.facts["grid"] = " x ".join(map(str, spec.grid))

    @staticmethod
    def _count(look: SplitLook, title: str, values: Any, scale: tuple[float, float], name: str) -> None:
        """Count range, mean and deviation of a channel of a sample."""
        finite = values[np.isfinite(values)]
        if len(finite) < values.size:
            look.find(NOT_NUMBERS, f"{name}, {title}", int(values.size - len(finite)))
        if not len(finite):
            return
        look.number(f"{title}: mean of a field", float(finite.mean()))
        look.number(f"{title}: deviation of a field", float(finite.std()))
        look.number(f"{title}: least value", float(finite.min()))
        look.number(f"{title}: largest value", float(finite.max()))
        if finite.min() == finite.max():
            look.find(CONSTANT, f"{name}, {title}")
        if np.abs(finite - scale[0]).max() > FAR_OUT * scale[1]:
            look.find(FAR, f"{name}, {title}")


def in_units(fields: FloatFields, means: Sequence[float], stds: Sequence[float], axis: int) -> FloatFields:
    """Return normalised fields in the units of their C channels, which are an axis of them."""
    shape = [-1 if place == axis else 1 for place in range(fields.ndim)]
    mean, std = (np.array(values, dtype=np.float32).reshape(shape) for values in (means, stds))
    return fields * std + mean


def profiles(rows: Sequence[tuple[str, FloatFields]]) -> Image.Image:
    """Return fields on a line as curves."""
    points = range(len(rows[0][1]))
    curves = [Curve(title, points, field.tolist(), dashed=not place) for place, (title, field) in enumerate(rows)]
    values = np.concatenate([field for _, field in rows]).tolist()
    return draw_curves(curves, rows[0][0], ("point", ""), y_axis=axis_of(values))
