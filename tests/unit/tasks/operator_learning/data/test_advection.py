"""Waves that move: the solution is exact, and a sample is a function of seed, epoch and index."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.errors import ConfigError
from lab.tasks.operator_learning.data.advection import Advection, AdvectionDataModule


@pytest.mark.parametrize("dims", [1, 2])
def test_a_step_of_whole_cells_is_a_roll(dims: int) -> None:
    """2 cells down and 1 to the right of 32: what a shift of the grid gives, by another way."""
    data = AdvectionDataModule(dims=dims, velocity=(0.5, 0.25), step=0.125, resolution=32, eval_steps=3)
    sample = data.dataset("val")[0, 0]
    rolled = [torch.roll(sample.fields, [2 * n, n][:dims], dims=[1, 2][:dims]) for n in (1, 2, 3)]
    assert sample.targets.shape == (3, 1, *[32] * dims)
    assert (sample.targets - torch.stack(rolled)).abs().max() < 1e-13  # measured 4e-15


def test_the_equation_holds_between_the_grid_points() -> None:
    """u_t + c . grad u = 0, by derivatives of the waves in Fourier space and a central difference in time."""
    problem = Advection((0.3, -0.2), 0.1, 3, 1.0)
    amplitudes = problem.initial.draw(np.random.default_rng(0))
    before, now, after = problem.states(amplitudes, (12, 16), np.array([0.4 - 1e-4, 0.4, 0.4 + 1e-4]))
    spectrum = np.fft.fft2(now)
    down, right = (2j * np.pi * np.fft.fftfreq(n, 1 / n) for n in now.shape)
    gradient = np.fft.ifft2(spectrum * down[:, None]).real, np.fft.ifft2(spectrum * right).real
    moved = 0.3 * gradient[0] - 0.2 * gradient[1]
    assert np.abs((after - before) / 2e-4 + moved).max() < 1e-4 * np.abs(moved).max()  # measured 3e-7


def test_fields_have_mean_0_and_variance_1() -> None:
    data = AdvectionDataModule(num_train=400)
    fields = torch.stack([data.dataset("train")[0, index].fields for index in range(400)])
    assert abs(float(fields.mean())) < 1e-12
    assert float(fields.var()) == pytest.approx(1.0, abs=0.05)


def test_samples_are_a_function_of_seed_epoch_and_index() -> None:
    data, again, other = (AdvectionDataModule(seed=seed, num_train=8) for seed in (0, 0, 1))
    first = data.dataset("train")[0, 3].fields
    assert torch.equal(first, again.dataset("train")[0, 3].fields)
    others = (data.dataset("train")[1, 3], data.dataset("val")[0, 3], other.dataset("train")[0, 3])
    assert not any(torch.allclose(first, sample.fields) for sample in others)
    assert data.fingerprint() == again.fingerprint() != other.fingerprint()


def test_another_resolution_has_the_same_fields() -> None:
    """The test on a grid of twice the points has the coarse one in it."""
    coarse, fine = AdvectionDataModule(), AdvectionDataModule(test_resolution=64)
    sample, finer = coarse.dataset("test")[0, 5], fine.dataset("test")[0, 5]
    assert finer.targets.shape[-2:] == (64, 64)
    assert torch.allclose(sample.targets, finer.targets[..., ::2, ::2], atol=1e-12)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.waves=4: 8 points hold waves of number 3 at most"):
        AdvectionDataModule(resolution=8)
    with pytest.raises(ConfigError, match=r"data\.velocity=\[0\.5\]: give 2 numbers"):
        AdvectionDataModule(velocity=[0.5])
