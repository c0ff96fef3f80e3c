"""SpecAugment and mixup: their distributions against the papers' and numpy's, and where they apply."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.structures.audio import LogMel
from lab.tasks.audio.augmentation import masked, mixed, mixed_labels, mixing_shares, swapped, upper_quantiles
from lab.tasks.audio.data.collate import NUM_CHANCES

OFF = {"frequency_masks": 0, "frequency_width": 0, "time_masks": 0, "time_width": 0, "time_share": 1.0}


def chances(count: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 2**31, (count, NUM_CHANCES), generator=torch.Generator().manual_seed(seed))


def hidden(settings: dict[str, float], count: int = 2000, frames: int = 10, bands: int = 8) -> Tensor:
    """Return (count, frames, bands) bool, where clips of two examples of half as many frames are masked."""
    mel = torch.arange(float(count * frames * bands)).view(count, 2, frames // 2, bands)
    found = masked(LogMel(mel, torch.ones(count, 2, dtype=torch.bool)), chances(count), OFF | settings).examples
    return (found != mel).view(count, frames, bands)


def test_bands_are_masked_as_published() -> None:
    """f ~ U[0, 3] of 8 bands: each width a quarter of the clips; the whole time of a band."""
    found = hidden({"frequency_masks": 1, "frequency_width": 3})
    assert (found.all(1) == found.any(1)).float().mean() > 0.99  # a value may equal the mean by chance
    widths = found.any(1).sum(1).bincount(minlength=5)
    assert widths[4] == 0
    assert (widths[:4] / 2000).tolist() == pytest.approx([0.25] * 4, abs=0.04)
    assert found.any(1).any(0).all()


def test_spans_of_time_run_over_examples() -> None:
    """t ~ U[0, min(6, p * 10)] of 10 frames."""
    found = hidden({"time_masks": 1, "time_width": 6, "time_share": 0.4}).all(2)
    lengths = found.sum(1).bincount(minlength=6)
    assert lengths[5:].sum() == 0
    assert (lengths[:5] / 2000).tolist() == pytest.approx([0.2] * 5, abs=0.04)
    assert (found[:, 4] & found[:, 5]).any()


def test_masked_values_are_the_mean_of_the_clip_that_is_there() -> None:
    mel = torch.cat([torch.ones(1, 1, 4, 8), torch.full((1, 1, 4, 8), 9.0)], 1)
    mel[0, 0, 0, 0] = 33.0
    settings = OFF | {"frequency_masks": 4, "frequency_width": 8}
    found = masked(LogMel(mel, torch.tensor([[True, False]])), chances(1, 3), settings).examples[0, 0]
    assert set(found.unique().tolist()) <= {1.0, 2.0, 33.0}
    assert (found == 2.0).any()  # (31 * 1 + 33) / 32


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    drawn = np.random.default_rng(0).beta(alpha, alpha, 200_000)
    expected = np.quantile(np.maximum(drawn, 1 - drawn), [0.1, 0.5, 0.9])
    found = upper_quantiles(alpha).numpy()[::-1]
    assert np.interp([0.1, 0.5, 0.9], np.linspace(0, 1, len(found)), found) == pytest.approx(expected, abs=3e-3)
    shares = mixing_shares(chances(4000)[:, 0], alpha)
    assert torch.equal(shares[::2], shares[1::2])
    assert (float(shares.min()), float(shares.max())) >= (0.5, 0.5)
    assert float(shares.mean()) == pytest.approx(np.maximum(drawn, 1 - drawn).mean(), abs=0.01)


def test_neighbours_are_mixed() -> None:
    mel = LogMel(torch.tensor([1.0, 3.0, 10.0, 20.0]).view(4, 1, 1, 1), torch.tensor([[True], [False], [True], [True]]))
    shares = torch.tensor([0.75, 0.75, 0.5, 0.5])
    found = mixed(mel, shares)
    assert found.examples.flatten().tolist() == [1.5, 2.5, 15.0, 15.0]
    assert found.present.all()
    assert mixed_labels(torch.tensor([0, 2, 1, 1]), shares, 3).tolist() == [
        [0.75, 0, 0.25],
        [0.25, 0, 0.75],
        [0, 1, 0],
        [0, 1, 0],
    ]
    assert swapped(torch.arange(4)).tolist() == [1, 0, 3, 2]
