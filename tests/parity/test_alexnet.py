"""AlexNet against torchvision's, with random weights and biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import create_model
from lab.errors import ConfigError
from lab.models.alexnet.parallel import blocks
from tests.agreement import Compared

torchvision = pytest.importorskip("torchvision")


PEER = Compared("alexnet", "torchvision", ("alexnet",))


def fill(model: nn.Module, seed: int = 0) -> None:
    """Fill weights deterministically, biases far from zero."""
    generator = torch.Generator().manual_seed(seed)
    for _, value in sorted(model.state_dict().items()):
        noise = torch.randn(value.shape, generator=generator)
        value.copy_(noise * (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else noise * 0.3)


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs().max() / theirs.abs().max()).detach())


def images(size: tuple[int, int], channels: int = 3) -> Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """Ours and torchvision's with the same weights, 7 classes, in eval mode."""
    theirs = torchvision.models.alexnet(num_classes=7).eval()
    fill(theirs)
    ours = create_model("alexnet", num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize("size", [(63, 63), (64, 97), (224, 224), (259, 231)])
def test_logits_equal_torchvision(size: tuple[int, int], pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    with torch.no_grad():
        assert PEER.agrees("logits", worst(ours(images(size)), theirs(images(size))), 5e-6)  # worst measured: 1.0e-6


def test_gradients_equal_torchvision(pair: tuple[Any, Any]) -> None:
    for model in pair:
        model.zero_grad(set_to_none=True)
        torch.manual_seed(0)  # both drop the same: dropout stands at the same two places
        model.train()(images((64, 80))).square().mean().backward()
        model.eval()
    expected = dict(pair[1].named_parameters())
    errors = [worst(value.grad, expected[name].grad) for name, value in pair[0].named_parameters()]
    assert PEER.agrees("gradients", max(errors), 1e-5)  # worst measured: 1.8e-6


@pytest.mark.parametrize("mutant", ["pooling", "padding", "bias", "dropout"])
def test_the_comparison_sees_mutants(mutant: str, pair: tuple[Any, Any]) -> None:
    theirs = pair[1]
    ours = create_model("alexnet", num_classes=7, dropout=0.1 if mutant == "dropout" else 0.5).eval()
    ours.load_state_dict(theirs.state_dict())
    if mutant == "pooling":
        ours.get_submodule("features.2").padding = 1
    elif mutant == "padding":
        ours.get_submodule("features.0").padding = (1, 1)
    elif mutant == "bias":
        nn.init.zeros_(ours.get_submodule("features.8").bias)
    found = []
    with torch.no_grad():
        for model in (ours, theirs):
            torch.manual_seed(0)
            found.append(model.train(mutant == "dropout")(images((65, 65))))
            model.eval()
    assert worst(*found) > 1e-3


def test_maps_are_those_before_each_pooling_and_after_the_last(pair: tuple[Any, Any]) -> None:
    theirs = pair[1]
    ours = create_model("alexnet", features_only=True).eval()
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if key.startswith("features.")})
    assert (ours.num_channels, ours.strides) == ((64, 192, 256, 256), (4, 8, 16, 32))
    with torch.no_grad():
        maps = ours(images((224, 97)))
        for end, found in zip((2, 5, 12, 13), maps, strict=True):
            assert PEER.agrees(
                "maps", worst(found, theirs.features[:end](images((224, 97)))), 5e-6
            )  # worst measured: 0
    assert [item.shape[2] for item in maps] == [55, 27, 13, 6]
    short = create_model("alexnet", features_only=True, out_indices=(2,))
    assert len(short.get_submodule("features")) == 5
    assert short.num_channels == (192,)


def test_a_hook_sees_what_was_before_the_relu(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    seen: list[Tensor] = []
    handle = ours.get_submodule("features.6").register_forward_hook(lambda *call: seen.append(call[2].clone()))
    with torch.no_grad():
        found, expected = ours(images((224, 224))), theirs.features[:7](images((224, 224)))
        handle.remove()
        torch.testing.assert_close(found, ours(images((224, 224))), rtol=1e-5, atol=1e-5)
    assert worst(seen[0], expected) < 5e-6  # worst measured: 0
    assert float(seen[0].min()) < 0


def test_grey_images_and_another_head(tmp_path: Path, caplog: pytest.LogCaptureFixture, pair: tuple[Any, Any]) -> None:
    torch.save(pair[1].state_dict(), tmp_path / "weights.pth")
    ours = create_model("alexnet", num_classes=3, in_chans=1, pretrained=tmp_path / "weights.pth")
    assert "adapted from 3 to 1 channels" in caplog.text
    assert "classifier.6.weight (7, 4096) -> (3, 4096)" in caplog.text
    assert ours(images((64, 64), channels=1)).shape == (2, 3)
    assert [layer.out_features for layer in blocks(ours)] == [4096, 4096, 3]


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"out_indices=\(0,\)"):
        create_model("alexnet", features_only=True, out_indices=(0,))
    with pytest.raises(ConfigError, match="dropout"):
        create_model("alexnet", dropout=1.0)
    with pytest.raises(ConfigError, match=r"shape \(2, 3, 62, 224\): expected \(B, 3, H, W\), H and W at least 63"):
        create_model("alexnet", features_only=True)(images((62, 224)))
