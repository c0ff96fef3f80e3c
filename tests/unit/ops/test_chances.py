"""Random integers as numbers between 0 and 1."""

from __future__ import annotations

import torch

from lab.ops.chances import draw_integers, unit


def test_integers_become_shares() -> None:
    ends = torch.tensor([0, 2**30, 2**31 - 1])
    assert unit(ends).tolist() == [0.0, 0.5, 1 - 2**-31]
    drawn = draw_integers(torch.Generator().manual_seed(0), 4000)
    assert drawn.dtype == torch.int64
    assert abs(float(unit(drawn).mean()) - 0.5) < 0.02
    assert (drawn == draw_integers(torch.Generator().manual_seed(0), 4000)).all()
