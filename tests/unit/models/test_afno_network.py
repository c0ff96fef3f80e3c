"""AFNO networks: shapes, grids that fit, other grids at run time, arguments."""

from __future__ import annotations

import pytest
import torch

import lab
from lab.errors import ConfigError


def test_fields_of_any_grid_and_series() -> None:
    net = lab.create_model("afno_tiny", image_size=(32, 16), in_channels=3, out_channels=2, embed_dim=16)
    for size in ((32, 16), (16, 24), (4, 4)):
        assert net(torch.randn(2, 3, *size)).shape == (2, 2, *size)
    series = lab.create_model("afno_tiny", image_size=(64,), patch_size=2, embed_dim=16)
    assert series(torch.randn(2, 1, 48)).shape == (2, 1, 48)


def test_grids_that_the_patch_does_not_divide_are_refused_with_those_that_fit() -> None:
    with pytest.raises(
        ConfigError, match="image_size 721x1440 is not divided by patch_size=8x8: height 720 or 728 would fit"
    ):
        lab.create_model("afno_tiny", image_size=(721, 1440), patch_size=8)
    net = lab.create_model("afno_tiny", image_size=(16, 16), embed_dim=16)
    with pytest.raises(
        ConfigError, match="a field of 16x18 is not divided by patch_size=4x4: width 16 or 20 would fit"
    ):
        net(torch.randn(1, 1, 16, 18))
    with pytest.raises(ConfigError, match=r"fields of shape \(1, 2, 16, 16\): expected \(B, 1, H, W\)"):
        net(torch.randn(1, 2, 16, 16))
    with pytest.raises(ConfigError, match="as many as the grid has axes"):
        lab.create_model("afno_tiny", image_size=(16, 16), patch_size=(4,))


def test_fourcastnet_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        net = lab.create_model("afno_fourcastnet")
    assert sum(value.numel() for value in net.parameters()) == 74_691_840  # of NVlabs' code with config/AFNO.yaml
