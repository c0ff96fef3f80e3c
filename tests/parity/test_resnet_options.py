"""ResNet's options and relatives against torchvision's and timm's, and against references written here.

MMDetection itself was compared once by hand (the room's README): its caffe style, frozen stages, norm_eval and plugins.
Training mode is compared in float64: batch statistics of a few values amplify the rounding of float32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import create_model
from lab.errors import ConfigError
from lab.models.resnet.network import DEPTHS
from lab.models.resnet.plugins import ContextBlock
from lab.models.resnet.weights import convert, from_mmdetection, to_mmdetection
from tests.agreement import Compared
from tests.classifiers import fill, gradients_apart, images, logits_apart, worst

torchvision = pytest.importorskip("torchvision")


PEER = Compared("resnet", "torchvision")
TIMM = Compared("resnet", "timm")


def bare(make: Callable[..., nn.Module], *names: str, **options: Any) -> Any:
    """Build without drawing weights, which would take most of a test's time."""
    with torch.device("meta"):
        net = make(*names, **options)
    net.to_empty(device="cpu")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    return net


def pair(ours: nn.Module, theirs: nn.Module) -> tuple[Any, Any]:
    """Both with the same weights, far from their first ones."""
    fill(theirs, gain=1.0)
    ours.load_state_dict(convert(theirs.state_dict()), strict=True)
    return ours, theirs


def apart(ours: nn.Module, theirs: nn.Module) -> float:
    """Return how far both are apart in evaluation (float32), and in logits, gradients and statistics of a training."""
    evaluated = logits_apart(ours, theirs, images())
    trained = gradients_apart(ours.double(), theirs.double(), images().double())
    return max(evaluated, trained)


SHORT = (1, 2, 1, 1)
"""Blocks of each stage where a test needs no more."""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ResNet-50 have fewer blocks: every kind of block is there."""
    monkeypatch.setitem(DEPTHS, 50, SHORT)


def theirs_short(**options: Any) -> Any:
    net = torchvision.models.resnet
    return bare(net.ResNet, net.Bottleneck, list(SHORT), num_classes=5, **options)


def test_resnext_equals_torchvision() -> None:
    x = images(1)
    ours = bare(create_model, "resnext50_32x4d", num_classes=5)
    ours, theirs = pair(ours, bare(torchvision.models.resnext50_32x4d, num_classes=5))
    assert PEER.agrees("logits", logits_apart(ours, theirs, x), 1e-5, "resnext50_32x4d")  # worst measured: 1.8e-7


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("name", "groups", "width"), [("resnext50_32x4d", 32, 4), ("wide_resnet50_2", 1, 128), ("resnet50", 1, 64)]
)
def test_groups_and_widths_train_as_torchvisions(name: str, groups: int, width: int) -> None:
    ours, theirs = pair(bare(create_model, name, num_classes=5), theirs_short(groups=groups, width_per_group=width))
    assert PEER.agrees(
        "logits, and training in double precision", apart(ours, theirs), 1e-5
    )  # worst measured: 4.0e-7 in evaluation, 2.0e-14 in training


@pytest.mark.parametrize(
    "name", ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"]
)
def test_layers_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name), getattr(torchvision.models, name)()
    shapes, expected = ({key: value.shape for key, value in net.state_dict().items()} for net in (ours, theirs))
    assert list(shapes) == list(expected)
    assert shapes == expected
    assert list(dict(ours.named_parameters())) == list(dict(theirs.named_parameters()))
    strides = [[item.stride for item in net.modules() if isinstance(item, nn.Conv2d)] for net in (ours, theirs)]
    assert strides[0] == strides[1]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("kind", ["Bottleneck", "BasicBlock"])
def test_deep_stem_and_average_equal_timm(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm.models.resnet")
    monkeypatch.setitem(DEPTHS, 18, SHORT)
    name, options = ("resnetv1d50", {}) if kind == "Bottleneck" else ("resnet18", {"deep_stem": True, "avg_down": True})
    deep = {"stem_width": 32, "stem_type": "deep", "avg_down": True}
    ours = bare(create_model, name, num_classes=5, **options)
    ours, theirs = pair(ours, bare(timm.ResNet, getattr(timm, kind), SHORT, num_classes=5, **deep))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert TIMM.agrees(
        "logits, and training in double precision", apart(ours, theirs), 1e-5
    )  # worst measured: 4.6e-7 in evaluation, 2.4e-14 in training
    pools = [item for item in theirs.modules() if isinstance(item, nn.AvgPool2d)]
    assert len(pools) == 3
    x = images().double()
    with torch.no_grad():
        expected = ours.eval()(x)
        pools[0].kernel_size = 1  # a stride without a mean
        assert worst(theirs.eval()(x), expected) > 1e-3
        pools[0].kernel_size, pools[0].ceil_mode = 2, False
        with pytest.raises(RuntimeError):  # of an odd map: the shortcut is smaller than what it is added to
            theirs(x)


def test_keys_of_resnet_d_are_timms() -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        for name, peer in (("resnetv1d50", "resnet50d"), ("resnetv1d101", "resnet101d"), ("resnet152d", "resnet152d")):
            ours, theirs = create_model(name), timm.create_model(peer)
            shapes = [[(key, value.shape) for key, value in net.state_dict().items()] for net in (ours, theirs)]
            assert sorted(shapes[0]) == sorted(shapes[1])


def to_caffe(net: Any) -> Any:
    """Move the stride of torchvision's bottlenecks to their first 1x1, as the network of 2015 has it."""
    for stage in (net.layer2, net.layer3, net.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return net


@pytest.mark.usefixtures("short")
def test_caffe_style_has_the_stride_on_the_first_convolution() -> None:
    theirs = theirs_short()
    ours, plain = pair(bare(create_model, "resnet50", num_classes=5, style="caffe"), theirs)
    with torch.no_grad():
        assert worst(ours.eval()(images()), plain.eval()(images())) > 1e-3  # the mutant: stride on the 3x3
    assert PEER.agrees(
        "logits, caffe style", apart(ours, to_caffe(plain)), 1e-5
    )  # worst measured: 4.1e-7 in evaluation, 2.1e-14 in training


def freeze(net: Any, stages: int) -> Callable[[], None]:
    """Freeze stem and first stages of torchvision's network by hand; returned is what sets its mode for a training."""
    parts = [net.conv1, net.bn1, *(getattr(net, f"layer{stage}") for stage in range(1, stages + 1))]
    for part in parts:
        part.requires_grad_(False)

    def train() -> None:
        type(net).train(net)
        for part in parts:
            part.eval()

    return train


@pytest.mark.parametrize(("stages", "with_cp"), [(0, False), (1, False), (1, True), (4, False)])
def test_frozen_stages_are_neither_trained_nor_moved(stages: int, with_cp: bool) -> None:
    ours, theirs = pair(
        bare(create_model, "resnet18", num_classes=5, frozen_stages=stages, with_cp=with_cp),
        bare(torchvision.models.resnet18, num_classes=5),
    )
    train = freeze(theirs, stages)
    theirs.train = lambda mode=True: (train(), theirs)[1]
    before = copy.deepcopy(ours.state_dict())
    assert gradients_apart(ours.double(), theirs.double(), images().double()) < 1e-5  # worst measured: 3.4e-14
    frozen = ("conv1.", "bn1.", *(f"layer{stage}." for stage in range(1, stages + 1)))
    for key, value in ours.state_dict().items():
        moved = not torch.equal(value, before[key].to(value.dtype))
        assert moved == ("running" in key or "tracked" in key) * (not key.startswith(frozen)), key
    assert {name for name, value in ours.named_parameters() if not value.requires_grad} == {
        name for name in dict(ours.named_parameters()) if name.startswith(frozen)
    }


def test_the_comparison_sees_statistics_that_move_in_a_frozen_stage() -> None:
    ours, theirs = pair(
        bare(create_model, "resnet18", num_classes=5, frozen_stages=1), bare(torchvision.models.resnet18, num_classes=5)
    )
    freeze(theirs, 1)  # its mode is that of an ordinary training
    assert gradients_apart(ours.double(), theirs.double(), images().double()) > 1e-3


def test_norm_eval_keeps_statistics_and_trains_the_rest() -> None:
    ours, theirs = pair(
        bare(create_model, "resnet18", num_classes=5, norm_eval=True, frozen_stages=0),
        bare(torchvision.models.resnet18, num_classes=5),
    )
    freeze(theirs, 0)
    theirs.train = lambda mode=True: type(theirs).train(theirs, False)
    before = copy.deepcopy(ours.double().state_dict())
    assert gradients_apart(ours, theirs.double(), images().double()) < 1e-5  # worst measured: 4.7e-15
    assert ours.training
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("features_only", [False, True])
def test_modes_hold_from_the_beginning_and_are_returned(features_only: bool) -> None:
    net: Any = create_model("resnet18", features_only=features_only, frozen_stages=1, norm_eval=True)
    for _ in range(2):
        assert net.training
        assert net.layer2.training
        assert not net.layer1[0].training
        assert not any(item.training for item in net.modules() if isinstance(item, nn.BatchNorm2d))
        assert net.eval() is net
        assert not any(item.training for item in net.modules())
        assert net.train() is net
    around = nn.Sequential(net).eval().train()  # what a task does
    assert not around[0].bn1.training


PLUGINS: list[dict[str, Any]] = [
    {"cfg": {"type": "ContextBlock", "ratio": 0.25}, "stages": [True, False, True, False], "position": "after_conv1"},
    {"cfg": {"type": "ContextBlock", "ratio": 0.1, "postfix": 2}, "position": "after_conv2"},
    {
        "cfg": {"type": "ContextBlock", "pooling_type": "avg", "fusion_types": ["channel_mul"], "postfix": "_last"},
        "position": "after_conv3",
    },
    {
        "cfg": {"type": "ContextBlock", "fusion_types": ["channel_add", "channel_mul"], "postfix": "_mask"},
        "stages": [False, True, True, True],
        "position": "after_conv3",
    },
]
"""Every position, both kinds of pooling and of fusion."""


def reference_context(block: nn.Module, x: Tensor) -> Tensor:
    """GCNet's block as its figure 4d draws it, image by image."""
    layers = dict(block.named_children())
    found = []
    for image in x:
        pixels = image.flatten(1)  # (C, HW)
        weights = torch.full_like(pixels[0], 1 / pixels.shape[1])
        if "conv_mask" in layers:
            scores = layers["conv_mask"].weight.flatten() @ pixels + layers["conv_mask"].bias
            weights = scores.exp() / scores.exp().sum()
        context = (pixels @ weights)[None, :, None, None]
        factor, summand = 1.0, 0.0
        if "channel_mul_conv" in layers:
            factor = 1 / (1 + torch.exp(-layers["channel_mul_conv"](context)))
        if "channel_add_conv" in layers:
            summand = layers["channel_add_conv"](context)
        found.append(image * factor + summand)
    return torch.cat(found)


def reference_block(block: Any, x: Tensor, order: Sequence[str]) -> Tensor:
    """A bottleneck with plugins, step by step; ``order`` names those behind the third convolution."""
    plugins = {name: item for name, item in block.named_children() if name.startswith("context_block")}

    def plugged(out: Tensor, names: Sequence[str]) -> Tensor:
        for name in names:
            out = reference_context(plugins[name], out) if name in plugins else out
        return out

    out = plugged(torch.relu(block.bn1(block.conv1(x))), ["context_block"])
    out = plugged(torch.relu(block.bn2(block.conv2(out))), ["context_block2"])
    out = plugged(block.bn3(block.conv3(out)), order)
    identity = x if block.downsample is None else block.downsample[1](block.downsample[0](x))
    return torch.relu(out + identity)


class Reference(nn.Module):
    """ResNet-50 with ``PLUGINS`` of the layers of another network, step by step."""

    def __init__(self, net: Any, order: Sequence[str] = ("context_block_last", "context_block_mask")) -> None:
        super().__init__()
        for name, layer in net.named_children():
            self.add_module(name, layer)
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        layers: Any = self
        x = nn.functional.max_pool2d(torch.relu(layers.bn1(layers.conv1(x))), 3, 2, 1)
        for stage in range(1, 5):
            for block in self.get_submodule(f"layer{stage}"):  # type: ignore[union-attr]
                x = reference_block(block, x, self.order)
        logits: Tensor = layers.fc(x.mean((2, 3)))
        return logits


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("with_cp", [False, True])
def test_plugins_stand_where_they_are_put(with_cp: bool) -> None:
    ours = bare(create_model, "resnet50", num_classes=5, plugins=PLUGINS, with_cp=with_cp)
    fill(ours, gain=1.0)
    theirs = Reference(copy.deepcopy(ours))
    assert apart(ours, theirs) < 1e-5  # worst measured: 5.2e-7 in evaluation, 3.1e-12 in training
    names = {key.split(".")[2] for key in ours.state_dict() if key.startswith("layer1.0.context")}
    assert names == {"context_block", "context_block2", "context_block_last"}
    assert ours.layer2[1].context_block2.channel_add_conv[0].weight.shape == (12, 128, 1, 1)
    assert ours.layer4[0].context_block_mask.channel_mul_conv[3].weight.shape == (2048, 128, 1, 1)
    if not with_cp:
        mutant = Reference(copy.deepcopy(ours), ("context_block_mask", "context_block_last"))
        with torch.no_grad():
            assert worst(ours.eval()(images().double()), mutant.eval()(images().double())) > 1e-3


@pytest.mark.usefixtures("short")
def test_a_new_context_block_is_the_identity_and_keeps_its_first_weights() -> None:
    torch.manual_seed(0)
    plugged: Any = create_model("resnet50", features_only=True, plugins=PLUGINS[3:], out_indices=(2,)).eval()
    plain = create_model("resnet50", features_only=True, out_indices=(2,)).eval()
    plain.load_state_dict(plugged.state_dict(), strict=False)
    block = plugged.layer2[0].context_block_mask
    assert not any(layer[3].weight.any() for layer in (block.channel_add_conv, block.channel_mul_conv))
    for item in plugged.modules():  # the factor of a new block is a half
        if isinstance(item, ContextBlock):
            nn.init.constant_(item.channel_mul_conv[3].bias, 100.0)
    assert worst(plugged(images())[0], plain(images())[0]) < 2e-6  # worst measured: 0


MMCV: dict[tuple[str, tuple[str, ...]], list[float]] = {
    ("att", ("channel_add",)): [1.077182880546, -0.54099091242, 1.062024332071, 0.711847165687],
    ("att", ("channel_mul",)): [0.259108513741, -0.693814958295, 0.190627395602, 0.077396373677],
    ("att", ("channel_add", "channel_mul")): [0.701598518345, -0.27663649486, 0.785705087436, 0.682357929343],
    ("avg", ("channel_add",)): [-0.904301324319, -2.456539083038, -0.898911714539, -1.198200331766],
    ("avg", ("channel_mul",)): [0.157156343875, -0.395136370135, 0.12985147055, 0.051477950918],
    ("avg", ("channel_add", "channel_mul")): [-1.381837856387, -1.893506077318, -1.236006884226, -1.25360799087],
}
"""Some outputs of mmcv 2.1.0's ``ContextBlock``, run once with weights and input by the formula below."""


@pytest.mark.parametrize(("pooling", "fusions"), list(MMCV))
def test_context_block_gives_mmcvs_numbers(pooling: str, fusions: tuple[str, ...]) -> None:
    block = ContextBlock(6, 0.5, pooling, fusions).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, value in block.named_parameters():  # the names are mmcv's too
            phase = sum(map(ord, name))
            value.copy_(torch.sin(torch.arange(value.numel(), dtype=value.dtype) * 1.7 + phase).view_as(value))
        found = block(torch.cos(torch.arange(2 * 6 * 3 * 4, dtype=torch.float64) * 0.9).view(2, 6, 3, 4))
    expected = torch.tensor(MMCV[pooling, fusions], dtype=torch.float64)
    torch.testing.assert_close(
        found[:, ::5, 1, 2].flatten(), expected, rtol=0, atol=1e-11
    )  # worst measured: 4.8e-13, of numbers with 12 digits


@pytest.mark.usefixtures("short")
def test_activation_checkpointing_keeps_less_and_counts_a_batch_once() -> None:
    kept, steps = {}, {}
    for with_cp in (False, True):
        net = bare(create_model, "resnet50", num_classes=5, with_cp=with_cp)
        fill(net, gain=1.0)
        sizes: list[int] = []

        def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        calls: list[int] = []
        net.layer2[1].bn2.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = net(images()).square().sum()
        loss.backward(retain_graph=True)
        loss.backward()  # a second pass computes again, and still counts nothing
        kept[with_cp], steps[with_cp] = sum(sizes), len(calls)
        assert {int(value) for key, value in net.state_dict().items() if key.endswith("tracked")} == {1}
    assert steps == {False: 1, True: 3}
    assert kept[True] < 0.3 * kept[False]  # measured: 0.13
    net.eval()
    with torch.no_grad():
        net(images())
    assert len(calls) == 4  # nothing is computed twice without gradients


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", ["resnext50_32x4d", "wide_resnet50_2", "resnetv1d50"])
def test_new_names_are_backbones(name: str) -> None:
    whole = bare(create_model, name, num_classes=3, in_chans=1)
    net = bare(create_model, name, features_only=True, out_indices=(0, 2), in_chans=1, frozen_stages=2, style="caffe")
    report = net.load_state_dict(whole.state_dict(), strict=False)
    assert report.missing_keys == []
    assert (net.num_channels, net.strides) == ((64, 512), (2, 8))
    maps = net(images(channels=1))
    assert [tuple(item.shape) for item in maps] == [(2, 64, 33, 40), (2, 512, 9, 10)]
    assert not any(item.requires_grad for item in maps)


def test_keys_of_mmdetection_go_both_ways() -> None:
    net = bare(create_model, "resnetv1d50")
    theirs = to_mmdetection(net.state_dict())
    assert [key for key in theirs if not key.startswith("layer")][:4] == [
        "stem.0.weight",
        "stem.1.weight",
        "stem.1.bias",
        "stem.1.running_mean",
    ]
    assert {key.split(".")[1] for key in theirs if key.startswith("stem")} == {"0", "1", "3", "4", "6", "7"}
    assert set(from_mmdetection(theirs)) == {key for key in net.state_dict() if not key.startswith("fc.")}
    plain = bare(create_model, "resnet18").state_dict()
    assert set(to_mmdetection(plain)) == {key for key in plain if not key.startswith("fc.")}


CONTEXT = {"type": "ContextBlock"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "cafe"}, "style.*caffe"),
        ({"frozen_stages": 5}, "frozen_stages"),
        ({"frozen_stages": 3, "features_only": True, "out_indices": (2,)}, r"frozen_stages=3: .*at most 2"),
        (
            {"plugins": [{"cfg": CONTEXT, "position": "after_conv4"}]},
            r"plugins\.0\.position='after_conv4'.*after_conv3",
        ),
        ({"plugins": [{"cfg": CONTEXT}]}, "plugins.0: needs 'position'"),
        ({"plugins": [{"cfg": CONTEXT, "position": "after_conv1", "stage": [True]}]}, "'stage'; did you mean 'stages'"),
        (
            {"plugins": [{"cfg": CONTEXT, "position": "after_conv1", "stages": [True, False]}]},
            r"plugins\.0\.stages=\[True, False\]: expected 4",
        ),
        ({"plugins": [{"cfg": {}, "position": "after_conv1"}]}, r"plugins\.0\.cfg=\{\}: .*type"),
        ({"plugins": [{"cfg": {"type": "ContextBlok"}, "position": "after_conv1"}]}, "did you mean 'ContextBlock'"),
        (
            {"plugins": [{"cfg": {**CONTEXT, "rato": 0.1}, "position": "after_conv1"}]},
            r"plugins\.0\.cfg\.rato: .*did you mean 'ratio'",
        ),
        ({"plugins": [{"cfg": {**CONTEXT, "ratio": 0.001}, "position": "after_conv1"}]}, "leaves no channel of 64"),
        ({"plugins": [{"cfg": {**CONTEXT, "in_channels": 3}, "position": "after_conv1"}]}, "in_channels.*leave it out"),
        ({"plugins": [{"cfg": {**CONTEXT, "postfix": "."}, "position": "after_conv1"}]}, "postfix"),
        (
            {"plugins": [{"cfg": {"type": "os.system", "command": "true"}, "position": "after_conv1"}]},
            r"plugins\.0\.cfg\.type: 'os\.system' is not in an allowed package",
        ),
        (
            {"plugins": [{"cfg": CONTEXT, "position": place} for place in ("after_conv1", "after_conv3")]},
            r"plugins\.1: the block has a 'context_block' already.*postfix",
        ),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message), torch.device("meta"):
        create_model("resnet50", **options)


@pytest.mark.parametrize(
    "options",
    [{"style": "caffe"}, {"plugins": [{"cfg": CONTEXT, "position": "after_conv1"}]}],
    ids=["style", "plugins"],
)
def test_what_needs_bottlenecks_says_so(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="needs bottleneck blocks"), torch.device("meta"):
        create_model("resnet34", **options)
