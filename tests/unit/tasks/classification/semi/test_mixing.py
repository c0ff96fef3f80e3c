"""MixMatch's arithmetic, by hand, by SciPy and by lists cut as google-research/mixmatch cuts them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from lab.tasks.classification.semi.mixing import CHANCE_BITS, FoldedBeta, groups, interleave, mix, sharpen


def test_sharpening_by_hand() -> None:
    """T = 1/2 squares: (0.36, 0.09, 0.01) / 0.46."""
    found = sharpen(torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64), 0.5)
    torch.testing.assert_close(found, torch.tensor([[36 / 46, 9 / 46, 1 / 46]], dtype=torch.float64))
    same = torch.tensor([[0.6, 0.3, 0.1]])
    torch.testing.assert_close(sharpen(same, 1.0), same)
    assert torch.equal(sharpen(torch.full((1, 4), 0.25), 0.002), torch.full((1, 4), 0.25))  # 4^-500 is 0


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.75, 1.0, 8.0])
def test_shares_are_of_the_beta_distribution_folded_at_one_half(alpha: float) -> None:
    """Against SciPy's quantiles; measured below the last step of the table: 2e-6 up to alpha 1, 7e-4 for 8."""
    shares, chances = FoldedBeta(alpha), torch.arange(0, 2**CHANCE_BITS, 2**15 + 1)
    found = shares(chances)
    expected = scipy.stats.beta.ppf(0.5 + chances.double().numpy() / 2 ** (CHANCE_BITS + 1), alpha, alpha)
    inside = chances < 2**CHANCE_BITS - 2 ** (CHANCE_BITS - 14)
    assert np.abs(found.numpy() - expected)[inside.numpy()].max() < (4e-6 if alpha <= 1 else 1e-3)
    assert (found.min(), found.max()) >= (0.5, 0.5)
    drawn = np.random.default_rng(0).beta(alpha, alpha, 4000)
    even = shares((torch.linspace(0, 1, 4000).double() * (2**CHANCE_BITS - 1)).long()).numpy()
    assert scipy.stats.ks_2samp(np.maximum(drawn, 1 - drawn), even).pvalue > 1e-3


def test_each_image_is_mixed_by_a_share_of_its_own() -> None:
    images, others = torch.ones(2, 3, 1, 1), torch.zeros(2, 3, 1, 1)
    found = mix(images, others, torch.tensor([0.75, 1.0]))
    assert found.flatten(1).tolist() == [[0.75] * 3, [1.0] * 3]


@pytest.mark.parametrize(("batch_size", "sizes"), [(64, [21, 21, 22]), (65, [21, 22, 22]), (6, [2, 2, 2])])
def test_interleaving_is_that_of_the_authors(batch_size: int, sizes: list[int]) -> None:
    """Their lists: each part is cut into as many pieces; piece i of part 0 and of part i change places."""
    firsts = groups(batch_size, 3)
    assert [firsts.count(part) for part in range(3)] == sizes
    parts = torch.arange(3 * batch_size).view(3, batch_size)
    cuts = np.cumsum([0, *sizes])
    pieces = [[part[cuts[place] : cuts[place + 1]] for place in range(3)] for part in parts]
    for place in (1, 2):
        pieces[0][place], pieces[place][place] = pieces[place][place], pieces[0][place]
    expected = torch.stack([torch.cat(part) for part in pieces])
    found = interleave(parts, torch.tensor(firsts))
    assert torch.equal(found, expected)
    assert torch.equal(interleave(found, torch.tensor(firsts)), parts)
