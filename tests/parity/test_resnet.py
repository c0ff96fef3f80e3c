"""ResNet against torchvision's, with random affines and statistics of every batch norm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lab import create_model
from lab.errors import ConfigError
from lab.layers.convolution import FrozenBatchNorm2d
from tests import classifiers
from tests.agreement import Compared
from tests.classifiers import images, worst

torchvision = pytest.importorskip("torchvision")


PEER = Compared("resnet", "torchvision", ("resnet50",))


def fill(model: nn.Module, seed: int = 0) -> None:
    classifiers.fill(model, seed, gain=1.0)


@pytest.fixture(scope="module")
def peer() -> nn.Module:
    model = torchvision.models.resnet50().eval()
    fill(model)
    return model


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("train", [False, True])
def test_logits_equal_torchvision(depth: int, train: bool) -> None:
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=7).train(train)
    fill(theirs)
    ours = create_model(f"resnet{depth}", num_classes=7).train(train)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        error = worst(ours(images()), theirs(images()))
    # Batch statistics of 12 values in layer4 amplify rounding: worst measured 3.2e-5 in training, 6.5e-7 in eval.
    what = "logits of training" if train else "logits"
    assert PEER.agrees(what, error, 1e-4 if train else 2e-6, f"resnet{depth}")
    if train:
        for key, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dilation", [(False, False, False), (False, False, True), (False, True, True)])
@pytest.mark.parametrize("norm", ["batch_norm", "frozen_batch_norm"])
def test_maps_equal_torchvision(dilation: tuple[bool, ...], norm: str) -> None:
    theirs = torchvision.models.resnet50(replace_stride_with_dilation=list(dilation)).eval()
    fill(theirs)
    ours = create_model(
        "resnet50", features_only=True, out_indices=(0, 1, 2, 3, 4), norm=norm, replace_stride_with_dilation=dilation
    ).eval()
    report = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert (report.missing_keys, report.unexpected_keys) == ([], ["fc.weight", "fc.bias"])
    assert ours.num_channels == (64, 256, 512, 1024, 2048)
    expected = [theirs.relu(theirs.bn1(theirs.conv1(images())))]
    x = theirs.maxpool(expected[0])
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        x = layer(x)
        expected.append(x)
    with torch.no_grad():
        maps = ours(images())
    assert PEER.agrees("maps", max(map(worst, maps, expected)), 5e-6)  # worst measured: 1.6e-6
    assert [-(-images().shape[2] // stride) for stride in ours.strides] == [item.shape[2] for item in maps]


@pytest.mark.parametrize("frozen", [(), ("conv1", "layer1"), ("conv1", "layer1", "layer2", "layer3.0")])
def test_gradients_equal_torchvision_through_folded_norms(frozen: tuple[str, ...], peer: nn.Module) -> None:
    theirs = torchvision.models.resnet50(norm_layer=torchvision.ops.FrozenBatchNorm2d)
    theirs.load_state_dict(peer.state_dict(), strict=False)
    ours = create_model("resnet50", norm="frozen_batch_norm")
    ours.load_state_dict(peer.state_dict(), strict=True)
    for model in (ours, theirs):
        for name, value in model.named_parameters():
            value.requires_grad_(not name.startswith(frozen) if frozen else True)
        model(images()).square().mean().backward()
    expected = dict(theirs.named_parameters())
    trained = [(name, value) for name, value in ours.named_parameters() if value.requires_grad]
    errors = [worst(value.grad, expected[name].grad) for name, value in trained]
    assert PEER.agrees("gradients", max(errors), 5e-6)  # worst measured: 9.5e-7


@pytest.mark.parametrize("mutant", ["stride", "residual", "statistics", "dilation"])
def test_the_comparison_sees_mutants(mutant: str, peer: nn.Module) -> None:
    ours = create_model("resnet50").eval()
    if mutant == "dilation":
        ours = create_model("resnet50", replace_stride_with_dilation=(False, False, True)).eval()
    ours.load_state_dict(peer.state_dict())
    if mutant == "stride":  # the original v1: stride on the first 1x1
        block = ours.get_submodule("layer3.0")
        block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    elif mutant == "residual":
        nn.init.zeros_(ours.get_submodule("layer4.2").bn3.weight)
    elif mutant == "statistics":
        ours.get_submodule("layer1.0").bn1.running_mean.zero_()
    with torch.no_grad():
        assert worst(ours(images()), peer(images())) > 1e-3


def test_plain_statistics_load_into_a_frozen_norm(peer: nn.Module) -> None:
    ours = create_model("resnet50", norm="frozen_batch_norm").eval()
    ours.load_state_dict(peer.state_dict(), strict=True)
    assert not any(key.endswith("num_batches_tracked") for key in ours.state_dict())
    assert all(
        not value.requires_grad
        for module in ours.modules()
        if isinstance(module, FrozenBatchNorm2d)
        for value in module.buffers()
    )
    with torch.no_grad():
        assert worst(ours(images()), peer(images())) < 2e-6  # worst measured: 4.3e-7


def test_what_a_hook_has_seen_is_not_written_over(peer: nn.Module) -> None:
    ours = create_model("resnet50", features_only=True).eval()
    ours.load_state_dict(peer.state_dict(), strict=False)
    with torch.no_grad():
        before = [item.clone() for item in ours(images())]
        seen: list[torch.Tensor] = []
        ours.get_submodule("layer1.0").register_forward_hook(lambda module, inputs, output: seen.append(output))
        maps = ours(images())
        expected = peer.layer1[0](peer.maxpool(peer.relu(peer.bn1(peer.conv1(images())))))
    assert worst(seen[0], expected) < 2e-6  # of one block, fp32
    torch.testing.assert_close(maps, before, rtol=1e-4, atol=1e-4)


def test_group_norm_does_not_depend_on_the_batch() -> None:
    ours = create_model("resnet18", num_classes=3, norm="group_norm")
    fill(ours)
    with torch.no_grad():
        together, alone = ours(images(2)), ours(images(2)[:1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"out_indices=\(5,\)"):
        create_model("resnet18", features_only=True, out_indices=(5,))
    with pytest.raises(ConfigError, match="bottleneck"):
        create_model("resnet18", replace_stride_with_dilation=(False, False, True))
    with pytest.raises(ConfigError, match="did you mean 'frozen_batch_norm'"):
        create_model("resnet18", norm="frozen_batchnorm")
