"""AFNO against a slow form of the published maths in complex numbers, and against a result that physicsnemo stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab import create_model
from lab.errors import CheckpointError
from lab.models.afno import products
from lab.models.afno.classifier import AFNOClassifier
from lab.models.afno.filters import AFNO1D, AFNO2D
from lab.models.afno.network import AFNO
from lab.models.afno.weights import convert, from_physicsnemo, save_physicsnemo, to_fourcastnet, to_physicsnemo
from lab.registry.mdlus import read_mdlus, read_mdlus_arguments
from tests.agreement import Compared

SMALL: dict[str, Any] = {"patch_size": 4, "embed_dim": 16, "num_layers": 2, "num_blocks": 2}


PEER = Compared("afno", "complex numbers in double precision")
STORED = Compared("afno", "physicsnemo's stored result")


def fill(net: nn.Module, seed: int = 0) -> None:
    """Fill parameters deterministically; norms far from the identity, spectra around the threshold."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(net.state_dict().items()):
        noise = torch.randn(value.shape, generator=generator)
        if "filter" in name:
            value.copy_(noise * 0.1)
        elif value.ndim > 1:
            value.copy_(noise * 0.3)
        else:
            value.copy_(noise * 0.3 + (1.0 if "norm" in name and name.endswith("weight") else 0.0))


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs().max() / theirs.abs().max()).detach())


def kept(height: int, width: int, layer: AFNO2D) -> Tensor:
    """Return which modes (H, W // 2 + 1) are mixed, as the slices of the authors' codes say."""
    mask = torch.zeros(height, width // 2 + 1, dtype=torch.bool)
    if layer.mode_cut == "height":  # FourCastNet
        total = height // 2 + 1
        count = int(total * layer.keep_modes)
        mask[total - count : total + count, :count] = True
    elif layer.mode_cut == "tokens":  # AFNO-transformer
        mask[:, : int((height * width // 2 + 1) * layer.keep_modes)] = True
    else:
        low, columns = int((height // 2 + 1) * layer.keep_modes), int((width // 2 + 1) * layer.keep_modes)
        mask[:low, :columns] = True
        mask[max(height - low + 1, 0) :, :columns] = True
    return mask


def mixed(x: Tensor, layer: AFNO2D) -> Tensor:
    """Return equations 7 to 10 for (B, H, W, C) in complex numbers of double precision, block by block."""
    height, width = x.shape[1:3]
    spectrum = torch.fft.rfft2(x.double(), dim=(1, 2), norm="ortho")
    w1, b1, w2, b2 = (torch.complex(*part.double().unbind(0)) for part in (layer.w1, layer.b1, layer.w2, layer.b2))
    found = []
    for block, values in enumerate(spectrum.chunk(w1.shape[0], dim=-1)):
        hidden = values @ w1[block] + b1[block]
        hidden = torch.complex(hidden.real.relu(), hidden.imag.relu())
        out = hidden @ w2[block] + b2[block]
        found.append(torch.complex(*(F.softshrink(part, layer.sparsity) for part in (out.real, out.imag))))
    filtered = torch.cat(found, dim=-1) * kept(height, width, layer)[None, :, :, None]
    return torch.fft.irfft2(filtered, s=(height, width), dim=(1, 2), norm="ortho") + x


def slow(net: Any, fields: Tensor) -> Tensor:
    """Return what a whole network should, in double precision."""
    patches = net.patch_embed.proj
    x = F.conv2d(fields.double(), patches.weight.double(), patches.bias.double(), stride=patches.stride)
    grid = x.shape[2:]
    x = (x.flatten(2).mT + net.pos_embed.double()).unflatten(1, grid)
    for block in net.blocks:
        skip, x = x, mixed(norm(x, block.norm1), block.filter)
        if block.double_skip:
            skip = x = x + skip
        hidden = F.gelu(norm(x, block.norm2) @ block.mlp.fc1.weight.double().T + block.mlp.fc1.bias.double())
        x = hidden @ block.mlp.fc2.weight.double().T + block.mlp.fc2.bias.double() + skip
    if isinstance(net, AFNOClassifier):
        return norm(x, net.norm).mean((1, 2)) @ net.head.weight.double().T + net.head.bias.double()
    x = x @ net.head.weight.double().T
    rows, columns = patches.kernel_size
    out = torch.empty(len(x), x.shape[3] // (rows * columns), grid[0] * rows, grid[1] * columns, dtype=torch.double)
    for row in range(rows):
        for column in range(columns):
            first = (row * columns + column) * out.shape[1]
            out[:, :, row::rows, column::columns] = x[..., first : first + out.shape[1]].permute(0, 3, 1, 2)
    return out


def norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], layer.weight.double(), layer.bias.double(), 1e-6)


def fields(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=["batched", "one by one"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms of the products, whatever their sizes."""
    monkeypatch.setattr(products, "_LARGE", 0 if request.param == "one by one" else 1 << 62)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("cut", ["height", "tokens", "axes"])
@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("grid", [(6, 12), (12, 6), (5, 7), (8, 8)])
def test_mixing_equals_complex_numbers(grid: tuple[int, int], share: float, cut: str) -> None:
    layer = AFNO2D(16, 2, 0.02, share, 2, cut)
    fill(layer)
    x = fields(3, *grid, 16).requires_grad_()
    expected, found = mixed(x, layer), layer(x)
    assert PEER.agrees("mixing", worst(found, expected), 1e-6)  # worst measured: 2.3e-7
    with torch.no_grad():
        assert worst(layer(x), expected) < 1e-6
    inputs = (x, *layer.parameters())
    ours, theirs = (torch.autograd.grad(y.square().sum(), inputs) for y in (found, expected))
    apart = max(map(worst, ours, theirs))
    assert PEER.agrees("gradients of mixing", apart, 2e-6)  # worst measured: 6e-7


@pytest.mark.parametrize("length", [16, 9])
def test_series_equal_complex_numbers(length: int) -> None:
    layer = AFNO1D(16, 4, keep_modes=0.7)
    fill(layer)
    x = fields(2, length, 16)
    as_grid: Any = layer
    assert int(kept(1, length, as_grid).sum()) == int((length // 2 + 1) * 0.7)
    assert PEER.agrees("mixing of series", worst(layer(x), mixed(x[:, None], as_grid)[:, 0]), 1e-6)


@pytest.mark.parametrize("size", [(16, 40), (24, 24)])
@pytest.mark.parametrize("name", ["afno_fourcastnet", "afno_imagenet"])
def test_networks_equal_complex_numbers(name: str, size: tuple[int, int]) -> None:
    net: Any = (
        AFNO(size, 3, 2, **SMALL, unused_norm=True)
        if name == "afno_fourcastnet"
        else AFNOClassifier(size, 5, 3, **SMALL)
    )
    fill(net)
    x = fields(2, 3, *size)
    assert PEER.agrees("outputs", worst(net(x), slow(net, x)), 1e-6)  # worst measured: 4e-7


@pytest.mark.parametrize("mutant", ["one axis", "no shrinkage", "swapped blocks", "missing skip", "order of the head"])
def test_the_comparison_sees_mutants(mutant: str) -> None:
    net: Any = AFNO((16, 40), 3, 2, **SMALL)
    fill(net)
    x = fields(2, 3, 16, 40)
    expected = slow(net, x)
    for block in net.blocks:
        if mutant == "one axis":
            block.filter.mode_cut = "axes"
        elif mutant == "no shrinkage":
            block.filter.sparsity = 0.0
        elif mutant == "swapped blocks":
            block.filter.w1.data = block.filter.w1.flip(1)
        elif mutant == "missing skip":
            block.double_skip = False
    if mutant == "order of the head":
        net.head.weight.data = net.head.weight.unflatten(0, (16, 2)).transpose(0, 1).flatten(0, 1)
    assert worst(net(x), expected) > 1e-3


STORED_FIRST = (0.039337605, -0.234654635, 0.046972699, -0.457649678, -0.228012815, -0.476299405)
STORED_LAST = (0.184134513, 0.165301651, -0.149226397, 0.032447718, 0.038174044, -0.055971369)
STORED_NORM, STORED_SUM = 9.318767215, 330.800952304
"""Of physicsnemo's afno_output.pth: the first and last values of a row, the norm and the sum of absolute values."""


def test_equals_the_result_that_physicsnemo_stores() -> None:
    """Its own test fixes seed, sizes and result; the constructor of ours draws in the same order."""
    torch.manual_seed(0)
    net = AFNO((32, 32), 2, 1, 8, 16, 2, 2)
    x = torch.randn(2, 2, 32, 32)
    if abs(float(x[0, 0, 0, 0]) + 0.479433984) > 1e-6:
        pytest.skip("this version of torch draws other numbers from the seed")
    with torch.no_grad():
        y = net(x)
    apart = worst(y[0, 0, 0, :6], torch.tensor(STORED_FIRST))
    assert STORED.agrees("outputs", apart, 1e-6)  # worst of all 2048 values: 3.2e-7
    assert worst(y[1, 0, 31, -6:], torch.tensor(STORED_LAST)) < 1e-6
    assert float(y.double().norm()) == pytest.approx(STORED_NORM, rel=1e-6)
    assert float(y.double().abs().sum()) == pytest.approx(STORED_SUM, rel=1e-6)


def test_a_shipped_network_of_physicsnemos_layout_goes_both_ways(tmp_path: Path) -> None:
    net: Any = create_model("afno_tiny", image_size=(16, 24), mode_cut="height", **SMALL)
    fill(net)
    file = tmp_path / "afno.mdlus"
    save_physicsnemo(net, file)
    arguments = read_mdlus_arguments(file)
    assert (arguments["inp_shape"], arguments["patch_size"], arguments["depth"]) == ([16, 24], [4, 4], 2)
    state = read_mdlus(file)
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    again = create_model("afno_tiny", image_size=(16, 24), mode_cut="height", **SMALL, pretrained=file)
    assert torch.equal(again(fields(1, 1, 16, 24)), net(fields(1, 1, 16, 24)))
    net.blocks[0].double_skip = False
    with pytest.raises(CheckpointError, match="physicsnemo's AFNO is for"):
        save_physicsnemo(net, file)


def test_a_checkpoint_of_fourcastnet_loads_strictly_and_goes_back(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"image_size": (16, 32), "in_channels": 3, "out_channels": 3, **SMALL}
    net = create_model("afno_fourcastnet", **sizes)
    fill(net)
    file = tmp_path / "backbone.ckpt"
    theirs = to_fourcastnet(net.state_dict())
    assert {"module.norm.weight", "module.blocks.1.filter.w2", "module.head.weight"} < theirs.keys()
    torch.save({"iters": 1, "epoch": 2, "model_state": {**theirs, "module.ged": torch.zeros(1)}}, file)
    again = create_model("afno_fourcastnet", **sizes, pretrained=file)
    x = fields(1, 3, 16, 32)
    assert torch.equal(again(x), net(x))
    assert convert(theirs).keys() == net.state_dict().keys()
    # physicsnemo has no last norm: ours keeps its own, which nothing reads.
    torch.save(from_physicsnemo(to_physicsnemo(net.state_dict())), file)
    assert torch.equal(create_model("afno_fourcastnet", **sizes, pretrained=file)(x), net(x))


def test_places_of_another_grid_are_resampled_as_timm_does() -> None:
    timm = pytest.importorskip("timm")
    coarse: Any = create_model("afno_fourcastnet", image_size=(16, 32), in_channels=3, out_channels=3, **SMALL)
    fine: Any = create_model("afno_fourcastnet", image_size=(32, 64), in_channels=3, out_channels=3, **SMALL)
    fine.load_state_dict(fine.adapt_weights(coarse.state_dict()))
    expected = timm.layers.resample_abs_pos_embed(coarse.pos_embed, [8, 16], [4, 8], num_prefix_tokens=0)
    assert worst(fine.pos_embed, expected) < 1e-6
    x = fields(1, 3, 32, 64)
    assert worst(coarse(x), fine(x)) < 1e-6
    odd: Any = create_model("afno_tiny", image_size=(16, 20), **SMALL)
    with pytest.raises(CheckpointError, match="pos_embed of 21 patches is of no square grid"):
        odd.adapt_weights({"pos_embed": torch.zeros(1, 21, 16)})
