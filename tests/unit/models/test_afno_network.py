"""AFNO networks: shapes, grids that fit, other grids at run time, arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

import lab
from lab.errors import CheckpointError, ConfigError
from lab.models.afno.filters import AFNO2D
from lab.models.afno.network import AFNO
from lab.models.afno.precipitation import PrecipitationNet, pad_globe
from lab.models.afno.weights import to_fourcastnet


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


def test_a_share_that_keeps_no_mode_leaves_the_tokens() -> None:
    x = torch.randn(2, 6, 8, 4)
    assert torch.equal(AFNO2D(4, 2, keep_modes=0.1)(x), x)


def test_autocast_leaves_the_spectrum_in_float32() -> None:
    """Within the errors of bfloat16's products elsewhere; the mixing itself loses only its input's digits."""
    torch.manual_seed(0)
    net = lab.create_model("afno_tiny", image_size=(16, 16), embed_dim=16).eval()
    fields = torch.randn(2, 1, 16, 16)
    mixing: Any = AFNO2D(16, 2)
    tokens = torch.randn(2, 6, 8, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough, mixed = net(fields), mixing(tokens.bfloat16())
        assert torch.equal(mixing(tokens), mixing.mix(tokens))
    with torch.no_grad():
        assert (rough.float() - net(fields)).abs().max() < 0.02 * net(fields).abs().max()  # measured: 0.005
        assert torch.equal(mixed, mixing(tokens.bfloat16().float()).bfloat16())


def test_compiled_in_one_graph_it_computes_the_same() -> None:
    torch.manual_seed(0)
    net = lab.create_model("afno_tiny", image_size=(8, 16), embed_dim=16, num_layers=1)
    fields = torch.randn(2, 1, 8, 16)
    compiled: Any = torch.compile(net, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(fields), net(fields), atol=1e-6)


def test_recomputing_changes_neither_output_nor_gradients() -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"image_size": (8, 8), "embed_dim": 16, "num_layers": 2, "dropout": 0.1}
    plain = lab.create_model("afno_tiny", **sizes)
    sparing = lab.create_model("afno_tiny", **sizes, memory_efficient=True)
    sparing.load_state_dict(plain.state_dict())
    gradients = []
    for net in (plain, sparing):
        torch.manual_seed(1)
        net(torch.ones(2, 1, 8, 8)).square().sum().backward()
        gradients.append([value.grad for value in net.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


SIZES: dict[str, Any] = {"image_size": (8, 16), "in_channels": 2, "patch_size": 4, "embed_dim": 8, "num_layers": 1}


def test_precipitation_learns_behind_winds_that_do_not(tmp_path: Any) -> None:
    torch.manual_seed(0)
    winds = lab.create_model("afno_fourcastnet", out_channels=2, num_blocks=2, **SIZES).eval()
    torch.save({"model_state": to_fourcastnet(winds.state_dict())}, tmp_path / "w.pt")
    net: Any = lab.create_model("precipitation_net", num_blocks=2, pretrained=tmp_path / "w.pt", **SIZES).train()
    assert not net.winds.training
    fields = torch.randn(2, 2, 8, 16)
    rain = net(fields)
    with torch.no_grad():
        forecast = winds(fields)
        assert torch.equal(net.winds(fields), forecast)
        # By hand: longitude goes round, zeros lie beyond the poles.
        smooth = F.conv2d(pad_globe(net.backbone(forecast), 1), net.conv.weight, net.conv.bias).relu()
    assert torch.equal(rain, smooth)
    assert rain.shape == (2, 1, 8, 16)
    rain.sum().backward()
    trained = {name for name, value in net.named_parameters() if value.grad is not None}
    assert "conv.weight" in trained
    assert not any(name.startswith("winds.") for name in trained)
    torch.save(net.state_dict(), tmp_path / "all.pt")
    again = lab.create_model("precipitation_net", num_blocks=2, pretrained=tmp_path / "all.pt", **SIZES)
    assert torch.equal(again(fields), rain)


def test_the_globe_is_padded_round_in_longitude_only() -> None:
    field = torch.arange(6.0).view(1, 1, 2, 3)
    expected = [[0, 0, 0, 0, 0], [2, 0, 1, 2, 0], [5, 3, 4, 5, 3], [0, 0, 0, 0, 0]]
    assert pad_globe(field, 1)[0, 0].tolist() == expected


def test_precipitation_of_series_or_other_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"image_size should be \(H, W\)"):
        PrecipitationNet(AFNO((16,), 1, 1, 4, 8, 1, 2))
    small = (4, 8, 1, 2)
    with pytest.raises(ConfigError, match="in_channels=3, but the winds' network gives 2 channels"):
        PrecipitationNet(AFNO((8, 8), 3, 1, *small), AFNO((8, 8), 3, 2, *small))


def test_weights_of_other_fields_are_refused(tmp_path: Any) -> None:
    """Three fields are no colours, so their weights are not spread over other channels."""
    sizes = {**SIZES, "in_channels": 3, "num_blocks": 2}
    torch.save(lab.create_model("afno_tiny", **sizes).state_dict(), tmp_path / "three.pt")
    with pytest.raises(CheckpointError, match=r"patch_embed\.proj\.weight"):
        lab.create_model("afno_tiny", pretrained=tmp_path / "three.pt", **{**sizes, "in_channels": 4})
