"""VoVNet against timm's layers, with a squeeze and excitation in every block as DETR3D's authors have it.

The authors' own file was compared once by hand (the room's README).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import create_model
from lab.errors import ConfigError
from lab.models.vovnet.network import SIZES
from lab.models.vovnet.weights import convert, from_timm, to_timm
from tests.agreement import Compared
from tests.classifiers import fill, images, multiplications, worst

timm = pytest.importorskip("timm.models.vovnet")
THEIRS = {
    "vovnet19_slim_dw": "ese_vovnet19b_slim_dw",
    "vovnet19_dw": "ese_vovnet19b_dw",
    "vovnet19_slim": "ese_vovnet19b_slim",
    "vovnet39": "ese_vovnet39b",
    "vovnet57": "ese_vovnet57b",
    "vovnet99": "ese_vovnet99b",
}


PEER = Compared("vovnet", "timm")


class Peer(nn.Module):
    """timm's layers with an excitation in every block, and the maps of stem and stages."""

    def __init__(self, name: str) -> None:
        super().__init__()
        net = timm.VovNet(timm.model_cfgs[THEIRS[name]], num_classes=0)
        for stage in net.stages:
            for block in stage.blocks:
                block.attn = block.attn or timm.create_attn("ese", block.conv_concat.conv.out_channels)
        self.stem, self.stages = net.stem, net.stages

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


def pair(name: str, **options: Any) -> tuple[nn.Module, Peer]:
    theirs = Peer(name)
    fill(theirs, gain=1.0)
    ours = create_model(name, out_indices=(0, 1, 2, 3, 4), **options)
    ours.load_state_dict(convert(theirs.state_dict()), strict=True)
    return ours, theirs


def apart(ours: nn.Module, theirs: nn.Module) -> float:
    ours.eval()
    theirs.eval()
    with torch.no_grad():
        return max(map(worst, ours(images(1)), theirs(images(1))))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let VoVNet-39 have as few channels as the slim ones, and two blocks in one stage."""
    slim = SIZES["19_slim"]
    small = type(slim)(slim.stem, slim.mid, slim.out, 2, (1, 2, 1, 1))
    monkeypatch.setitem(SIZES, "39", small)
    sizes = {"stage_conv_chs": list(small.mid), "stage_out_chs": list(small.out), "block_per_stage": small.blocks}
    changed = {**timm.model_cfgs["ese_vovnet39b"], **sizes, "layer_per_block": small.layers}
    monkeypatch.setitem(timm.model_cfgs, "ese_vovnet39b", changed)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", ["vovnet19_slim_dw", "vovnet19_slim", "vovnet39"])
def test_maps_and_training_equal_timm(name: str) -> None:
    ours, theirs = pair(name)
    assert PEER.agrees("maps", apart(ours, theirs), 1e-5)  # worst measured: 7.4e-7
    for net in (ours.double().train(), theirs.double().train()):
        sum(item.square().mean() for item in net(images().double())).backward()
    grads: Any = from_timm({key: value.grad for key, value in theirs.named_parameters()})  # type: ignore[misc]
    assert grads.keys() == dict(ours.named_parameters()).keys()
    errors = [worst(value.grad, grads[key]) for key, value in ours.named_parameters()]  # type: ignore[arg-type]
    moved = from_timm(theirs.state_dict())
    errors += [worst(value, moved[key]) for key, value in ours.state_dict().items() if "running" in key]
    assert PEER.agrees(
        "training in double precision", max(errors), 1e-6
    )  # worst measured: 3.1e-8, of timm's hardsigmoid, whose 1/6 has single precision


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("mutant", ["excitation", "identity", "pooling", "order"])
def test_the_comparison_sees_mutants(mutant: str) -> None:
    ours, theirs = pair("vovnet39")
    block: Any = ours.get_submodule("stage3.OSA3_1")
    if mutant == "excitation":  # in the last block of each stage alone, as timm has it
        block.ese = nn.Identity()
    elif mutant == "identity":
        ours.get_submodule("stage3.OSA3_2").identity = False
    elif mutant == "pooling":
        ours.get_submodule("stage3").pools = False
        assert ours(images(1))[2].shape != theirs(images(1))[2].shape
        return
    else:  # the layers' results joined in another order
        block.concat[0].weight.data = block.concat[0].weight.flip(1)
    assert apart(ours, theirs) > 1e-3


@pytest.mark.parametrize("name", THEIRS)
def test_keys_convert_to_timms_and_back(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name), Peer(name)
    state = ours.state_dict()
    assert {key: value.shape for key, value in to_timm(state).items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }
    assert list(from_timm(to_timm(state))) == list(state)
    for place in ("img_backbone.", "backbone.bottom_up."):
        placed = {f"{place}{key}": value for key, value in state.items()} | {"head.weight": torch.zeros(1)}
        assert list(convert(placed)) == list(state)


def test_keys_and_size_of_the_published_backbone() -> None:
    """DETR3D's config asks for V-99-eSE; its keys as its authors' code names them."""
    with torch.device("meta"):
        net = create_model("vovnet99")
        plain = timm.VovNet(timm.model_cfgs["ese_vovnet99b"], num_classes=0)
        # The excitations of the blocks that have none in timm, each a layer from the means of all channels.
        more = sum(count * (width * width + width) for width, count in ((512, 2), (768, 8), (1024, 2)))
        assert sum(map(torch.numel, net.parameters())) == sum(map(torch.numel, plain.parameters())) + more == 69_523_520
        x, found = torch.empty(1, 3, 64, 96), []
        net.register_forward_hook(lambda module, inputs, outputs: found.extend(outputs))
        products = multiplications(net, x) - multiplications(plain, x)
        assert products == pytest.approx((2 * 512**2 + 8 * 768**2 + 2 * 1024**2) / 1e9, rel=1e-6)
        assert [tuple(item.shape) for item in found] == [
            (1, 256, 16, 24), (1, 512, 8, 12), (1, 768, 4, 6), (1, 1024, 2, 3)
        ]  # fmt: skip
    assert net.strides == (4, 8, 16, 32)
    assert net.num_channels == (256, 512, 768, 1024)
    for key in (
        "stem.stem_1/conv.weight",
        "stem.stem_3/norm.running_var",
        "stage2.OSA2_1.layers.4.OSA2_1_4/conv.weight",
        "stage4.OSA4_9.concat.OSA4_9_concat/norm.bias",
        "stage5.OSA5_3.ese.fc.bias",
    ):
        assert key in net.state_dict()


def test_frozen_parts_and_statistics_stay() -> None:
    net: Any = create_model("vovnet19_slim_dw", frozen_stages=1, norm_eval=True, with_cp=True)
    assert net.train() is net
    assert net.stage3.training
    assert not any(item.training for item in net.modules() if isinstance(item, nn.BatchNorm2d))
    assert not net.stem.training
    assert not net.stage2.training
    trained = {name for name, value in net.named_parameters() if value.requires_grad}
    assert trained == {name for name, _ in net.named_parameters() if not name.startswith(("stem.", "stage2."))}
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net(images())[-1].mean().backward()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    plain = create_model("vovnet19_slim_dw", frozen_stages=1, norm_eval=True)
    plain.load_state_dict(before)
    plain(images())[-1].mean().backward()
    ours, theirs = (dict(item.named_parameters())["stage3.OSA3_1.ese.fc.weight"].grad for item in (net, plain))
    assert torch.equal(ours, theirs)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="a backbone without a classifier"):
        create_model("vovnet99", features_only=False)
    with pytest.raises(ConfigError, match=r"out_indices=\(5,\)"):
        create_model("vovnet19", out_indices=(5,))
    with pytest.raises(ConfigError, match="frozen_stages=3"):
        create_model("vovnet19", out_indices=(2,), frozen_stages=3)
