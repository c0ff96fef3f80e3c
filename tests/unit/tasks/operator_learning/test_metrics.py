"""Errors of forecasts, against a slow form of their definitions in numpy and against numbers by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.structures.operator_learning import FieldBatch
from lab.tasks.operator_learning import metrics as subject
from lab.tasks.operator_learning.criterion import latitude_weights
from lab.tasks.operator_learning.metrics import ForecastMetrics, MeasuredForecasts
from tests.unit.tasks.operator_learning.makers import make_batch, make_spec

SPEC = make_spec()
TOLERANCE = 1e-13
"""Relative; the worst error measured is 4e-16 against numpy and 5e-16 between batches."""


def measure(
    batch: FieldBatch, found: Tensor, parts: tuple[slice, ...] = (slice(None),), **other: Any
) -> MeasuredForecasts:
    metric = ForecastMetrics(SPEC.means, SPEC.stds, SPEC.latitudes, **other)
    for part in parts:
        cut = batch.rows(part)
        metric.update(found[part], cut.targets.fields, cut.valid, cut.fields, cut.climatology)
    return metric.compute()


def slow(batch: FieldBatch, found: Tensor, pooled: bool) -> dict[str, np.ndarray]:
    """The definitions, point by point in float64, for the network's forecast."""
    p, t, k = (x.numpy().astype("f8") for x in (found, batch.targets.fields, batch.climatology))
    stds, means = np.array(SPEC.stds)[:, None, None], np.array(SPEC.means)[:, None, None]
    p, t, k = p * stds + means, t * stds + means, k * stds + means
    samples, steps, channels, height, width = p.shape
    cosines = [math.cos(math.radians(latitude)) for latitude in SPEC.latitudes]
    rmse, acc, of_channel = (np.zeros((steps, channels)) for _ in range(3))
    whole = np.zeros(steps)
    for s in range(steps):
        for b in range(samples):
            whole[s] += math.sqrt(((p[b, s] - t[b, s]) ** 2).sum() / (t[b, s] ** 2).sum()) / samples
        for c in range(channels):
            for b in range(samples):
                square = pt = pp = tt = 0.0
                for i in range(height):
                    weight = height * cosines[i] / sum(cosines)
                    for j in range(width):
                        x, y, z = p[b, s, c, i, j], t[b, s, c, i, j], k[b, s, c, i, j]
                        square += weight * (x - y) ** 2 / (height * width)
                        pt, pp = pt + weight * (x - z) * (y - z), pp + weight * (x - z) ** 2
                        tt += weight * (y - z) ** 2
                rmse[s, c] += (square if pooled else math.sqrt(square)) / samples
                acc[s, c] += pt / math.sqrt(pp * tt) / samples
                difference = np.linalg.norm(p[b, s, c] - t[b, s, c])
                of_channel[s, c] += difference / np.linalg.norm(t[b, s, c]) / samples
    return {"rmse": np.sqrt(rmse) if pooled else rmse, "acc": acc, "channel_l2": of_channel, "l2": whole}


@pytest.fixture(scope="module")
def case() -> tuple[FieldBatch, Tensor]:
    batch = make_batch(SPEC, samples=5, steps=3)
    return batch, batch.targets.fields + 0.5 * torch.randn(5, 3, 2, 4, 6, generator=torch.Generator().manual_seed(1))


def worst(found: MeasuredForecasts, expected: dict[str, np.ndarray]) -> float:
    errors = found.errors["network"]
    return max(float(np.abs(getattr(errors, key).numpy() / value - 1).max()) for key, value in expected.items())


@pytest.mark.parametrize("pooled", [True, False])
def test_against_the_definitions(case: tuple[FieldBatch, Tensor], pooled: bool) -> None:
    assert worst(measure(*case, pooled=pooled), slow(*case, pooled)) < TOLERANCE


def unweighted(latitudes: Any) -> Tensor | None:
    return None


def of_poles(latitudes: Any) -> Tensor:
    """FourCastNet's grid: the rows run from pole to pole in 180 / (n - 1) degrees, whatever they are."""
    given = latitude_weights([90 - 10 * number for number in range(len(latitudes))])
    assert given is not None
    return given


@pytest.mark.parametrize("mutant", [unweighted, of_poles])
def test_wrong_weights_are_seen(
    case: tuple[FieldBatch, Tensor], mutant: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "latitude_weights", mutant)
    assert worst(measure(*case), slow(*case, True)) > 1e-2


def test_mistakes_in_the_forecast_are_seen(case: tuple[FieldBatch, Tensor]) -> None:
    batch, found = case
    expected = slow(batch, found, True)
    for mutant in (found.flip(1), found.flip(2), batch.fields[:, None].expand_as(found)):
        assert worst(measure(batch, mutant), expected) > 1e-2


def test_any_cut_into_batches_gives_the_same(case: tuple[FieldBatch, Tensor]) -> None:
    whole, cut = measure(*case), measure(*case, parts=(slice(0, 2), slice(2, 3), slice(3, 5)))
    for name, errors in whole.errors.items():
        for key, value in vars(errors).items():
            torch.testing.assert_close(
                getattr(cut.errors[name], key), value, rtol=TOLERANCE, atol=0, equal_nan=True, msg=f"{name} {key}"
            )
    assert (whole.count, whole.bad, whole.first_bad) == (5, (0, 0, 0), 0)


def test_baselines_are_measured_as_forecasts(case: tuple[FieldBatch, Tensor]) -> None:
    batch, found = case
    errors = measure(batch, found).errors
    still = batch.fields[:, None].expand_as(found)
    assert batch.climatology is not None
    for name, forecast in (("persistence", still), ("climatology", batch.climatology)):
        as_network = measure(batch, forecast).errors["network"]
        for key in ("rmse", "channel_l2", "l2"):
            torch.testing.assert_close(getattr(errors[name], key), getattr(as_network, key), rtol=TOLERANCE, atol=0)
    assert errors["climatology"].acc.isnan().all()  # its anomaly is 0


def test_by_hand() -> None:
    """Rows at 60 and 0 degrees weigh 2/3 and 4/3; errors of 1 and 2 in one, deviations of 3."""
    metric = ForecastMetrics((1.0,), (3.0,), (60.0, 0.0))
    truth = torch.tensor([[1.0], [1.0]]).expand(1, 1, 1, 2, 1)
    found = torch.tensor([[2.0], [3.0]]).expand(1, 1, 1, 2, 1)
    metric.update(found, truth, torch.tensor([True]))
    errors = metric.compute().errors["network"]
    assert float(errors.rmse) == pytest.approx(3 * math.sqrt((2 / 3 * 1 + 4 / 3 * 4) / 2), rel=1e-14)
    assert float(errors.l2) == pytest.approx(3 * math.sqrt(5) / math.sqrt(2 * 4**2), rel=1e-14)
    assert errors.acc.isnan().all()


def test_fourcastnets_latitude_weight() -> None:
    """n cos / sum cos; of 90, 30, -30, -90 degrees the poles weigh nothing and the others 2."""
    weights = latitude_weights(SPEC.latitudes)
    assert weights is not None
    assert weights.flatten().tolist() == pytest.approx([0, 2, 2, 0], abs=1e-15)
    assert latitude_weights(()) is None


def test_samples_that_fill_up_do_not_count(case: tuple[FieldBatch, Tensor]) -> None:
    batch, found = case
    valid = torch.tensor([True, False, True, True, False])
    whole = ForecastMetrics(SPEC.means, SPEC.stds, SPEC.latitudes)
    whole.update(found, batch.targets.fields, valid, batch.fields, batch.climatology)
    kept = measure(batch, found, (slice(0, 1), slice(2, 4)))
    torch.testing.assert_close(whole.compute().errors["network"].rmse, kept.errors["network"].rmse, rtol=1e-14, atol=0)


def test_a_forecast_that_diverges_is_said_with_its_step(case: tuple[FieldBatch, Tensor]) -> None:
    batch, found = case
    found = found.clone()
    found[2, 1:, 0, 0, 0] = math.inf
    measured = measure(batch, found)
    assert (measured.bad, measured.first_bad) == ((0, 1, 1), 2)
    network = measured.errors["network"]
    assert network.l2.isnan().tolist() == [False, True, True]
    assert network.rmse.isnan().tolist() == [[False, False], [True, False], [True, False]]
    assert not measured.errors["persistence"].rmse.isnan().any()


def test_without_samples_nothing_is_defined() -> None:
    assert ForecastMetrics((0.0,), (1.0,)).compute() == MeasuredForecasts()
