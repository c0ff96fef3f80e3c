"""Spectra against known fields, numpy's transform and Parseval's theorem."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lab.tasks.operator_learning.spectra import SpectrumMetrics, octaves, power_spectrum, spectrum_rows, wave_numbers
from tests.unit.tasks.operator_learning.makers import make_spec


@pytest.mark.parametrize("grid", [(16,), (15,), (8, 8), (6, 10), (9, 7)])
def test_parseval(grid: tuple[int, ...]) -> None:
    """The worst relative error measured is 6e-16."""
    fields = torch.randn(3, *grid, generator=torch.Generator().manual_seed(0))
    power = power_spectrum(fields, len(grid))
    torch.testing.assert_close(power.sum(-1), fields.double().square().flatten(1).mean(1), rtol=1e-13, atol=0)


def test_waves_are_found_at_their_numbers() -> None:
    """2 cos 3x + sin(3x + 4y): powers 2 at 3 and 1/2 at 5; the mean 7 is at 0."""
    x = torch.arange(16, dtype=torch.float64) * 2 * math.pi / 16
    field = 7 + 2 * torch.cos(3 * x)[None, :] + torch.sin(3 * x[None, :] + 4 * x[:, None])
    power = power_spectrum(field, 2)
    expected = torch.zeros_like(power)
    expected[0], expected[3], expected[5] = 49, 2, 0.5
    torch.testing.assert_close(power, expected, rtol=0, atol=1e-13)
    zonal = power_spectrum(field, 2, torch.ones(16, 1, dtype=torch.float64))
    assert [round(float(value), 12) for value in zonal[:6]] == [49, 0, 0, 2.5, 0, 0]


def test_zonal_spectra_weigh_rows() -> None:
    """The mean over rows of numpy's spectra; the sum is the weighted mean square."""
    fields = np.random.default_rng(0).normal(size=(4, 10))
    weights = torch.tensor([0.0, 2.0, 2.0, 0.0], dtype=torch.float64)[:, None]
    found = power_spectrum(torch.from_numpy(fields), 2, weights)
    whole = np.abs(np.fft.fft(fields, axis=1) / 10) ** 2
    folded = [whole[:, 0], *(whole[:, k] + whole[:, -k] for k in range(1, 5)), whole[:, 5]]
    expected = [row[1:3].mean() for row in folded]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13)


def test_wave_numbers_count_along_the_longer_side() -> None:
    assert wave_numbers((4, 8), zonal=False).tolist() == [
        [0, 1, 2, 3, 4],
        [2, 2, 3, 4, 4],
        [4, 4, 4, 5, 6],
        [2, 2, 3, 4, 4],
    ]
    assert wave_numbers((4, 8), zonal=True).tolist() == [0, 1, 2, 3, 4]


def test_means_over_samples_in_units() -> None:
    spec = make_spec(latitudes=(), longitudes=())
    metric = SpectrumMetrics(spec.stds, 2)
    assert metric.compute() is None
    truth, found = torch.randn(2, 3, 2, 2, 4, 6, generator=torch.Generator().manual_seed(2)).unbind()
    metric.update(found[:2], truth[:2], torch.tensor([True, True]))
    metric.update(found[1:], truth[1:], torch.tensor([False, True]))
    spectra = metric.compute()
    assert spectra is not None
    expected = truth.double().square().mean((0, 3, 4)) * torch.tensor([4.0, 100.0])
    torch.testing.assert_close(spectra.truth.sum(-1), expected, rtol=1e-12, atol=0)
    rows, bands = spectrum_rows(spectra, spec), octaves(spectra, spec)
    assert [row["wave_numbers"] for row in bands[:3]] == ["1", "2-3", "4"]
    of_band = [row for row in rows if row["channel"] == "u" and row["step"] == 2 and row["wave_number"] in (2, 3)]
    assert bands[1]["truth"] == pytest.approx(sum(row["truth"] for row in of_band))
    ratio = sum(row["network"] for row in of_band) / bands[1]["truth"]
    assert bands[1]["share_last"] == pytest.approx(ratio)
