"""The cheap dropout: its share, its scale, its gradient, its reproducibility, and attention with it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lab.layers.attention import attend
from lab.layers.dropout import CheapDropout, drop_path, dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_scale(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 999)
    out = dropout(x, p, training=True)
    assert float((out == 0).float().mean()) == pytest.approx(p, abs=0.0025)  # 5 standard deviations at p = 0.5
    assert float(out[out != 0].min()) == float(out.max()) == pytest.approx(1 / (1 - p), rel=2e-4)
    together = (out[:, :-1] == 0) & (out[:, 1:] == 0)  # neighbours share a random number, not its bits
    assert float(together.float().mean()) == pytest.approx(p * p, abs=0.0025)


def test_gradient_is_the_mask() -> None:
    x = torch.full((64,), 2.0, requires_grad=True)
    out = dropout(x, 0.3, training=True)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * 2, out.detach())


def test_the_seed_decides() -> None:
    outs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outs.append(dropout(torch.ones(100), 0.5, training=True))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_nothing_happens_outside_of_training() -> None:
    x = torch.randn(3, generator=torch.Generator().manual_seed(0))
    assert CheapDropout(0.5).eval()(x) is x
    assert dropout(x, 0.0, training=True) is x
    assert torch.equal(dropout(x, 1.0, training=True), torch.zeros(3))


@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_dropout_is_attention_on_average(masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 5, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    mask = torch.tensor([True, True, False, True, True])[None, None, None] if masked else None
    tiny = attend(query, key, value, 2, mask, dropout=1e-9)  # rounds to no dropout at all
    torch.testing.assert_close(tiny, attend(query, key, value, 2, mask))
    torch.manual_seed(1)
    mean = torch.stack([attend(query, key, value, 2, mask, dropout=0.2) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, attend(query, key, value, 2, mask), rtol=0, atol=0.05)
    assert F.cosine_similarity(mean.flatten(), attend(query, key, value, 2, mask).flatten(), 0) > 0.999


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(20_000, 2, 3), 0.3, training=True)
    assert torch.equal(dropped.amin(dim=(1, 2)), dropped.amax(dim=(1, 2)))
    assert dropped[:, 0, 0].unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)  # six standard deviations
    assert drop_path(torch.ones(4), 0.3, training=False).tolist() == [1.0] * 4
    assert drop_path(torch.ones(4), 1.0, training=True).tolist() == [0.0] * 4
