"""MobileNetV2 against torchvision's, with random affines and statistics of every batch norm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lab import create_model
from lab.errors import ConfigError
from tests.agreement import Compared
from tests.classifiers import fill, gradients_apart, images, logits_apart, worst

torchvision = pytest.importorskip("torchvision")


PEER = Compared("mobilenet", "torchvision", ("mobilenet_v2",))


def pair(width_mult: float = 1.0) -> tuple[nn.Module, nn.Module]:
    """Return ours and torchvision's with the same unkind weights, loaded strictly; neither drops anything."""
    theirs = torchvision.models.mobilenet_v2(num_classes=7, width_mult=width_mult, dropout=0.0)
    fill(theirs)
    ours = create_model("mobilenet_v2", num_classes=7, width_mult=width_mult, dropout=0.0)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize("width_mult", [0.25, 1.0, 1.4])
def test_logits_equal_torchvision(width_mult: float) -> None:
    assert PEER.agrees("logits", logits_apart(*pair(width_mult), images()), 1e-5)  # worst measured: 5.2e-6


@pytest.mark.parametrize("width_mult", [0.25, 1.0])
def test_training_equals_torchvision(width_mult: float) -> None:
    """Logits, every gradient and the running statistics, in float64: batch statistics amplify float32's rounding."""
    ours, theirs = (model.double() for model in pair(width_mult))
    apart = gradients_apart(ours, theirs, images(4).double())
    assert PEER.agrees("training in double precision", apart, 1e-11)  # worst measured: 8.9e-13


def test_training_in_float32_equals_torchvision_in_the_same_layout() -> None:
    """Another layout rounds otherwise, and ReLUs near zero flip: an input one ulp off moves gradients by 3e-3."""
    ours, theirs = pair(0.5)
    theirs.to(memory_format=torch.channels_last)
    x = images(8, height=128, width=128).contiguous(memory_format=torch.channels_last)
    assert PEER.agrees("training", gradients_apart(ours, theirs, x), 1e-5)  # worst measured: 0: bit for bit


def test_maps_equal_torchvision() -> None:
    ours, theirs = pair()
    backbone = create_model("mobilenet_v2", features_only=True, out_indices=(0, 1, 2, 3, 4)).eval()
    report = backbone.load_state_dict(ours.state_dict(), strict=False)
    assert not report.missing_keys
    assert {key[:11] for key in report.unexpected_keys} == {"features.18", "classifier."}
    assert (backbone.num_channels, backbone.strides) == ((16, 24, 32, 96, 320), (2, 4, 8, 16, 32))
    expected, x = [], images()
    for index, layer in enumerate(theirs.eval().features):
        x = layer(x)
        if index in (1, 3, 6, 13, 17):  # the channels are those of timm's backbone
            expected.append(x)
    with torch.inference_mode():
        maps = backbone(images())
    assert PEER.agrees("maps", max(map(worst, maps, expected)), 1e-5)  # worst measured: 8.2e-6


def test_what_a_hook_has_seen_is_not_written_over() -> None:
    ours, theirs = pair()
    seen: list[torch.Tensor] = []
    ours.get_submodule("features.4").register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        ours.eval()(images())
    assert worst(seen[0], theirs.eval().features[:5](images())) < 1e-5  # of five blocks, fp32


@pytest.mark.parametrize("mutant", ["shortcut", "activation", "statistics"])
def test_the_comparison_sees_mutants(mutant: str) -> None:
    ours, theirs = pair(0.25)
    if mutant == "shortcut":
        ours.get_submodule("features.3").has_shortcut = False
    elif mutant == "activation":  # ReLU instead of ReLU6
        theirs.features[0][2] = nn.ReLU()
    else:
        ours.get_submodule("features.2.conv.3").running_mean.zero_()
    assert logits_apart(ours, theirs, 4 * images()) > 1e-3


def test_other_images_and_no_head() -> None:
    model = create_model("mobilenet_v2", in_chans=4, num_classes=0).eval()
    assert model(images(channels=4)).shape == (2, 1280)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"out_indices=\(-1,\)"):
        create_model("mobilenet_v2", features_only=True, out_indices=(-1,))
    with pytest.raises(ConfigError, match="width_mult"):
        create_model("mobilenet_v2", width_mult=0.0)
