"""DenseNet against torchvision's and timm's, with random affines (of both signs) and statistics of every batch norm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import create_model
from lab.errors import ConfigError
from lab.models.densenet import blocks as parts
from lab.models.densenet.network import DenseNet, DenseNetFeatures
from lab.models.densenet.parallel import blocks
from lab.models.densenet.weights import convert, to_torchvision
from tests.agreement import Compared
from tests.classifiers import worst

torchvision = pytest.importorskip("torchvision")

SMALL: dict[str, Any] = {"growth_rate": 8, "block_config": (2, 3, 2, 3), "num_init_features": 16}


PEER = Compared("densenet", "torchvision")
TIMM = Compared("densenet", "timm")
BOTH = Compared("densenet", "torchvision and timm", ("densenet121",))


def fill(model: nn.Module, seed: int = 0, positive: bool = False) -> None:
    """Fill parameters and statistics deterministically: norms far from the identity, a few scales negative or zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(model.state_dict().items()):
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            value.copy_(0.5 + noise.abs())
        elif value.ndim > 1:
            value.copy_(noise * (2 / value[0].numel()) ** 0.5)
        elif "norm" in name and name.endswith("weight"):
            value.copy_(noise * 0.6 + 1.0)
            value[::7] = 0.0
            value.copy_(value.abs() + 0.1 if positive else value)
        else:
            value.copy_(noise * 0.3)


def images(size: tuple[int, int] = (97, 80), channels: int = 3) -> Tensor:
    return torch.randn(4, channels, *size, generator=torch.Generator().manual_seed(1))


def make_pair(**changes: Any) -> tuple[Any, Any]:
    """Ours and torchvision's small network with the same weights, in eval mode, loaded strictly both ways."""
    theirs = torchvision.models.DenseNet(**SMALL, num_classes=5, **changes).eval()
    fill(theirs)
    ours = DenseNet(**SMALL, num_classes=5, **changes).eval()
    ours.load_state_dict(convert(theirs.state_dict()), strict=True)
    theirs.load_state_dict(to_torchvision(ours.state_dict()), strict=True)
    return ours, theirs


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("size", [(97, 80), (32, 32)])
def test_inference_equals_torchvision(size: tuple[int, int], positive: bool) -> None:
    ours, theirs = make_pair()
    fill(ours, positive=positive)
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        assert parts.can_fold(ours.features.denseblock1, images(), ours.features.conv0.weight)
        assert PEER.agrees("logits", worst(ours(images(size)), theirs(images(size))), 5e-6)  # worst measured: 5.2e-7
    with_gradients = ours(images(size))
    assert PEER.agrees("logits", worst(with_gradients, theirs(images(size))), 5e-6)  # worst measured: 6.5e-7


@pytest.mark.parametrize("memory_efficient", [False, True])
@pytest.mark.parametrize("train", [True, False])
def test_gradients_equal_torchvision(memory_efficient: bool, train: bool) -> None:
    ours, theirs = make_pair(memory_efficient=memory_efficient)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    for model in (ours, theirs):
        model.train(train)(images()).square().mean().backward()
    expected = dict(theirs.named_parameters())
    largest = max(float(value.grad.abs().max()) for value in expected.values())
    errors = [float((value.grad - expected[name].grad).abs().max()) for name, value in ours.named_parameters()]
    assert PEER.agrees(
        "gradients", max(errors) / largest, 1e-5
    )  # worst measured: 7.2e-6 with batch statistics, 1.1e-6 without
    # torchvision's memory_efficient changes statistics twice a step; ours are those of its plain network.
    _, plain = make_pair()
    plain.train(train)(images())
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-5, atol=1e-5)
    count = "features.denseblock1.denselayer2.norm1.num_batches_tracked"
    assert ours.state_dict()[count] - before[count] == (1 if train else 0)
    assert theirs.state_dict()[count] - before[count] == (0 if not train else 2 if memory_efficient else 1)


def test_less_is_kept_for_the_backward_pass() -> None:
    kept = {}
    for memory_efficient in (False, True):
        model = DenseNet(8, (12,), 16, memory_efficient=memory_efficient)
        sizes: list[int] = []

        def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(images())
        kept[memory_efficient] = sum(sizes)
    assert kept[True] < 0.75 * kept[False]  # measured: 0.63


def test_full_size_equals_torchvision_and_timm() -> None:
    timm = pytest.importorskip("timm")
    ours = create_model("densenet121").eval()
    fill(ours)
    x = images((224, 224))[:1]
    for theirs in (torchvision.models.densenet121(), timm.create_model("densenet121")):
        theirs.load_state_dict(ours.state_dict(), strict=True)
        with torch.no_grad():
            assert BOTH.agrees("logits", worst(ours(x), theirs.eval()(x)), 1e-5)  # worst measured: 5.7e-7


@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3, 4), (2,)])
@pytest.mark.parametrize("norm", ["batch_norm", "frozen_batch_norm"])
def test_maps_equal_timm(out_indices: tuple[int, ...], norm: str) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("densenet121", features_only=True, out_indices=out_indices).eval()
    fill(theirs)
    ours = create_model("densenet121", features_only=True, out_indices=out_indices, norm=norm).eval()
    state = {key.replace("features_", "features.", 1): value for key, value in theirs.state_dict().items()}
    report = ours.load_state_dict(state, strict=False)
    assert report.missing_keys == []
    assert ours.num_channels == tuple(theirs.feature_info.channels())
    assert ours.strides == tuple(theirs.feature_info.reduction())
    for wants_gradients in (False, True):
        with torch.set_grad_enabled(wants_gradients):
            maps, expected = ours(images()), theirs(images())
        assert TIMM.agrees("maps", max(map(worst, maps, expected)), 5e-6)  # worst measured: 1.5e-6


@pytest.mark.parametrize("mutant", ["order", "last relu", "statistics", "bound"])
def test_the_comparison_sees_mutants(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = make_pair()
    if mutant == "order":  # the newest channels first, as another library joins them
        layer = ours.features.denseblock2.denselayer2
        layer.conv1.weight.data = layer.conv1.weight.data.flip(1)
    elif mutant == "last relu":
        ours.features.norm5.register_forward_hook(lambda module, inputs, output: output + 10)
    elif mutant == "statistics":
        ours.features.transition1.norm.running_mean.zero_()
    else:  # scales below zero are forgotten
        monkeypatch.setattr(parts, "clamp", lambda x, low, high, out=None: torch.maximum(x, low, out=out))
    with torch.no_grad():
        assert worst(ours(images()), theirs(images())) > 1e-3


def test_hooks_within_a_block_are_called_and_see_what_torchvision_has() -> None:
    ours, theirs = make_pair()
    seen: list[list[Tensor]] = [[], []]
    for model, found in zip((ours, theirs), seen, strict=True):
        layer = model.features.denseblock2.denselayer3
        layer.register_forward_hook(lambda module, inputs, output, found=found: found.append(output))
    with torch.no_grad():
        assert worst(ours(images()), theirs(images())) < 5e-6  # as without
    assert worst(seen[0][0], seen[1][0]) < 5e-6


def test_a_transitions_mean_comes_first_unless_its_convolution_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = make_pair()
    ours.train(), theirs.train()
    expected = theirs(images())
    sizes: list[int] = []
    pooled = ours.features.transition1.pool.register_forward_hook(lambda pool, inputs, out: sizes.append(out.shape[1]))
    assert worst(ours(images()), expected) < 2e-5  # as published: the hook sees the mean of what was convolved
    pooled.remove()
    convolved: dict[nn.Module, int] = {}
    own = parts.convolve

    def convolve(x: Tensor, layer: nn.Conv2d, *others: Any, **more: Any) -> Tensor:
        convolved[layer] = x.shape[2]
        return own(x, layer, *others, **more)

    monkeypatch.setattr(parts, "convolve", convolve)
    assert worst(ours(images()), expected) < 2e-5
    height = convolved[ours.features.denseblock1.denselayer1.conv1]
    assert convolved[ours.features.transition1.conv] == height // 2
    assert sizes == [ours.features.transition1.conv.out_channels]


def test_files_with_the_names_of_before_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = create_model("densenet121", num_classes=3)
    fill(source)
    legacy = {_legacy(key): value for key, value in source.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.running_var" in legacy
    assert "features.transition1.norm.weight" in legacy
    torch.save(legacy, tmp_path / "densenet121.pth")
    loaded = create_model("densenet121", num_classes=3, pretrained=tmp_path / "densenet121.pth")
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in loaded.state_dict().items())
    grey = create_model("densenet121", features_only=True, in_chans=1, pretrained=tmp_path / "densenet121.pth")
    assert "adapted from 3 to 1 channels" in caplog.text
    assert [type(part).__name__ for part in blocks(grey)] == ["DenseBlock", "Transition"] * 3 + ["DenseBlock"]


def _legacy(key: str) -> str:
    """Name a key as torchvision's files do."""
    for part in ("norm", "conv"):
        for index in ("1", "2"):
            key = key.replace(f".{part}{index}.", f".{part}.{index}.") if ".denselayer" in key else key
    return key


def test_group_norm_does_not_depend_on_the_batch_and_mistakes_are_named() -> None:
    ours = DenseNet(**SMALL, num_classes=5, norm="group_norm")
    fill(ours)
    torch.testing.assert_close(ours(images())[:1], ours(images()[:1]), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"out_indices=\(5,\)"):
        DenseNetFeatures(**SMALL, out_indices=(5,))
    with pytest.raises(ConfigError, match="block_config"):
        DenseNet(block_config=())
    with pytest.raises(ConfigError, match=r"shape \(4, 1, 97, 80\): expected \(B, 3, H, W\)"):
        ours(images(channels=1))
