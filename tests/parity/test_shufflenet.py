"""ShuffleNetV2 against torchvision's, and against YOLO-FastestV2's way to shuffle, written here from its facts."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from lab import create_model, deploy
from lab.errors import ConfigError
from lab.models.shufflenet.gathering import plan
from lab.models.shufflenet.network import ShuffleNetV2, ShuffleNetV2Features
from lab.models.shufflenet.weights import convert, from_yolo_fastest, to_yolo_fastest
from tests.agreement import Compared
from tests.classifiers import fill, gradients_apart, images, logits_apart, worst

torchvision = pytest.importorskip("torchvision")
NAMES = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0")
TINY = (8, 12, 20, 28, 40)


PEER = Compared("shufflenet", "torchvision")
FASTEST = Compared("shufflenet", "YOLO-FastestV2's backbone in plain torch", ("shufflenet_v2_yolo_fastest",))


def pair(name: str, num_classes: int = 7) -> tuple[nn.Module, nn.Module]:
    """Return ours and torchvision's with the same unkind weights, loaded strictly."""
    if name == "tiny":
        theirs = torchvision.models.ShuffleNetV2([4, 8, 4], list(TINY), num_classes=num_classes)
        ours: nn.Module = ShuffleNetV2(TINY, num_classes)
    else:
        theirs = getattr(torchvision.models, name)(num_classes=num_classes)
        ours = create_model(name, num_classes=num_classes)
    fill(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize("name", ["tiny", *NAMES])
def test_logits_equal_torchvision(name: str) -> None:
    apart = logits_apart(*pair(name), images())
    assert PEER.agrees("logits", apart, 1e-5, *((name,) if name != "tiny" else ()))  # worst measured: 1.1e-6


@pytest.mark.parametrize("name", ["tiny", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"])
def test_training_equals_torchvision(name: str) -> None:
    """Logits, every gradient and the running statistics, in float64: batch statistics amplify float32's rounding."""
    ours, theirs = (model.double() for model in pair(name))
    apart = gradients_apart(ours, theirs, images(4).double())
    named = (name,) if name != "tiny" else ()
    assert PEER.agrees("training in double precision", apart, 1e-11, *named)  # worst measured: 7.9e-13


def test_training_in_float32_equals_torchvision_in_the_same_layout() -> None:
    """Another layout rounds otherwise, and ReLUs near zero flip: an input one ulp off moves gradients by 3e-3."""
    ours, theirs = pair("shufflenet_v2_x0_5")
    theirs.to(memory_format=torch.channels_last)
    x = images(8, height=128, width=128).contiguous(memory_format=torch.channels_last)
    assert PEER.agrees(
        "training", gradients_apart(ours, theirs, x), 1e-5, "shufflenet_v2_x0_5"
    )  # worst measured: 0: bit for bit


def test_maps_equal_torchvision() -> None:
    ours, theirs = pair("shufflenet_v2_x1_0")
    backbone = create_model("shufflenet_v2_x1_0", features_only=True, out_indices=(0, 1, 2, 3, 4)).eval()
    report = backbone.load_state_dict(ours.state_dict(), strict=False)
    assert not report.missing_keys
    assert {key.partition(".")[0] for key in report.unexpected_keys} == {"conv5", "fc"}
    assert (backbone.num_channels, backbone.strides) == ((24, 24, 116, 232, 464), (2, 4, 8, 16, 32))
    expected = [theirs.eval().conv1(images())]
    for layer in (theirs.maxpool, theirs.stage2, theirs.stage3, theirs.stage4):
        expected.append(layer(expected[-1]))
    with torch.inference_mode():
        maps = backbone(images())
    assert PEER.agrees("maps", max(map(worst, maps, expected)), 1e-5, "shufflenet_v2_x1_0")  # worst measured: 1.5e-6


@pytest.mark.parametrize("mutant", ["shuffle", "halves", "statistics"])
def test_the_comparison_sees_mutants(mutant: str) -> None:
    ours, theirs = pair("tiny")
    block = ours.get_submodule("stage3.2")
    if mutant == "shuffle":
        block.shuffle = "before"
    elif mutant == "halves":
        block.split = lambda x: tuple(reversed(x.chunk(2, dim=1)))
    else:
        block.branch2[4].running_mean.zero_()
    assert logits_apart(ours, theirs, images()) > 1e-3


class Fastest(nn.Module):
    """YOLO-FastestV2's backbone as its reference describes it: stride 1 shuffles first, stride 2 does not."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        before = 24
        for stage, (width, repeats) in enumerate(((48, 4), (96, 8), (192, 4)), 2):
            blocks = [Fastest.block(before, width, 2), *(Fastest.block(width, width, 1) for _ in range(repeats - 1))]
            self.add_module(f"stage{stage}", nn.Sequential(*blocks))
            before = width

    @staticmethod
    def block(before: int, width: int, stride: int) -> nn.Module:
        half, entry = width // 2, before if stride == 2 else width // 2
        block = nn.Module()
        deep = nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False)
        first, last = nn.Conv2d(entry, half, 1, bias=False), nn.Conv2d(half, half, 1, bias=False)
        block.branch_main = nn.Sequential(
            first, nn.BatchNorm2d(half), nn.ReLU(), deep, nn.BatchNorm2d(half), last, nn.BatchNorm2d(half), nn.ReLU()
        )
        if stride == 2:
            deep = nn.Conv2d(before, before, 3, 2, 1, groups=before, bias=False)
            last = nn.Conv2d(before, half, 1, bias=False)
            block.branch_proj = nn.Sequential(deep, nn.BatchNorm2d(before), last, nn.BatchNorm2d(half), nn.ReLU())
        return block

    def forward(self, x: Tensor) -> list[Tensor]:
        x = nn.functional.max_pool2d(self.first_conv(x), 3, 2, 1)
        maps = []
        for stage in (self.stage2, self.stage3, self.stage4):
            for block in stage:
                aside, through = x, x
                if hasattr(block, "branch_proj"):
                    aside = block.branch_proj(x)
                else:
                    batch, channels, height, width = x.shape
                    turns = x.reshape(batch * channels // 2, 2, height * width).permute(1, 0, 2)
                    aside, through = turns.reshape(2, batch, channels // 2, height, width)
                x = torch.cat((aside, block.branch_main(through)), dim=1)
            maps.append(x)
        return maps[1:]


def test_the_backbone_of_yolo_fastest_equals_its_description() -> None:
    theirs = Fastest().eval()
    fill(theirs)
    ours = create_model("shufflenet_v2_yolo_fastest", features_only=True).eval()
    ours.load_state_dict(from_yolo_fastest(theirs.state_dict()), strict=True)
    assert (ours.num_channels, ours.strides) == ((96, 192), (16, 32))
    with torch.inference_mode():
        assert FASTEST.agrees("maps", max(map(worst, ours(images()), theirs(images()))), 1e-5)  # worst measured: 1.3e-6
    theirs.load_state_dict(to_yolo_fastest(ours.state_dict()), strict=True)


@pytest.mark.parametrize("name", ["tiny", "shufflenet_v2_yolo_fastest"])
def test_deployed_networks_do_not_shuffle(name: str) -> None:
    """Classifier and maps are the same, by rows of pixels and by plain operations, of which none is a shuffle."""
    net = (pair("tiny")[0] if name == "tiny" else create_model(name, features_only=True)).eval()
    fill(net)
    deployed = deploy(net, images())
    assert not deployed.deployment.left
    with torch.inference_mode():
        expected, by_rows = net(images()), deployed(images())
    plain = deployed(images())
    for found in (by_rows, plain):
        pairs = zip([found], [expected], strict=True) if name == "tiny" else zip(found, expected, strict=True)
        both = max(worst(*both) for both in pairs)
        assert both < 1e-5  # worst measured: 9.9e-7
    graph = torch.export.export(deployed, (images(),), strict=False).graph
    called = {node.target.__name__.partition(".")[0] for node in graph.nodes if node.op == "call_function"}
    assert not called & {"permute", "transpose", "stack", "complex", "clone", "reshape"}


@pytest.mark.parametrize("mutant", ["pieces", "places"])
def test_deployed_mutants_are_seen(mutant: str) -> None:
    net = ShuffleNetV2Features(TINY, out_indices=(3, 4)).eval()
    fill(net)
    deployed = deploy(net, images())
    if mutant == "pieces":
        stage = deployed.get_submodule("stage3")
        stage.plan = replace(stage.plan, pieces=(*stage.plan.pieces[:-1], stage.plan.pieces[-1][::-1]))
    else:
        deployed.get_buffer("places0").copy_(torch.arange(20))
    assert worst(deployed(images())[0], net(images())[0]) > 1e-3


def test_keys_of_a_whole_yolo_fastest_are_read() -> None:
    own = create_model("shufflenet_v2_yolo_fastest", features_only=True, out_indices=(4,)).state_dict()
    whole = {f"backbone.{key}": value for key, value in to_yolo_fastest(own).items()}
    assert convert({**whole, "fpn.conv1x1_2.0.weight": torch.zeros(1)}).keys() == own.keys()
    assert convert(own).keys() == own.keys()


def test_other_images_and_no_head() -> None:
    model = create_model("shufflenet_v2_x0_5", in_chans=1, num_classes=0).eval()
    assert model(images(channels=1)).shape == (2, 1024)
    frozen = create_model("shufflenet_v2_x0_5", norm="frozen_batch_norm", num_classes=7)
    _, theirs = pair("shufflenet_v2_x0_5")
    frozen.load_state_dict(theirs.state_dict(), strict=True)
    assert logits_apart(frozen, theirs, images()) < 1e-5  # worst measured: 1.1e-6
    assert create_model("shufflenet_v2_x1_0", norm="group_norm", num_classes=7)(images()).shape == (2, 7)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"out_indices=\(5,\)"):
        create_model("shufflenet_v2_x0_5", features_only=True, out_indices=(5,))
    with pytest.raises(ConfigError, match="in_chans"):
        create_model("shufflenet_v2_x0_5", in_chans=0)


@pytest.mark.parametrize("shuffle", ["before", "after"])
def test_a_plan_moves_channels_as_the_blocks_do(shuffle: Literal["before", "after"]) -> None:
    """Numbers in place of channels: what each block gathers is its half of what would lie there."""
    made = plan(6, 3, shuffle)
    results = [[10 * result + channel for channel in channels] for result, channels in enumerate(made.made)]
    now = [*range(6), *range(10, 16)] if shuffle == "before" else [10 * (at % 2) + at // 2 for at in range(12)]
    for block in range(4):
        pieces = []
        for result, piece in made.pieces[block]:
            start = sum(made.sizes[result][:piece])
            pieces += results[result][start : start + made.sizes[result][piece]]
        aside, through = (now[0::2], now[1::2]) if shuffle == "before" else (now[:6], now[6:])
        wanted = through if block < 3 else now
        assert pieces == [wanted[at] for at in made.taken[block]]
        new = [10 * (block + 2) + channel for channel in range(6)]
        now = (
            aside + new
            if shuffle == "before"
            else [channel for both in zip(aside, new, strict=True) for channel in both]
        )
    assert shuffle == "after" or made.taken[-1] == tuple(range(12))
