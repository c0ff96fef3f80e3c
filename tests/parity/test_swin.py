"""Swin against transformers' and timm's with random weights, norms far from the identity and large position biases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import create_model
from lab.models.swin.network import SwinFeatures, SwinTransformer
from lab.models.swin.weights import (
    convert,
    from_official,
    from_timm,
    from_transformers,
    to_official,
    to_timm,
    to_transformers,
)
from lab.models.swin.windows import Partitions
from lab.registry import list_models
from tests.agreement import Compared

SMALL: dict[str, Any] = {"embed_dim": 16, "depths": (2, 2, 4), "num_heads": (1, 2, 4), "window_size": 4}
# Maps of 16, 8 and 4 tokens a side; of 18x22, 9x11 and 5x6, which windows do not divide; of no whole patches at all.
SIZES = [(64, 64), (72, 88), (70, 101)]


PEER = Compared("swin", "transformers")
TIMM = Compared("swin", "timm")


def fill(model: nn.Module, seed: int = 0) -> None:
    """Fill parameters deterministically; norms far from the identity, position biases that decide."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(model.state_dict().items()):
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("table"):
            value.copy_(noise)
        elif value.ndim > 1:
            value.copy_(noise / value[0].numel() ** 0.5)
        else:
            value.copy_(noise * 0.3 + (1.0 if "norm" in name and name.endswith("weight") else 0.0))


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs().max() / theirs.abs().max()).detach())


def images(size: tuple[int, int], batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def classifier() -> SwinTransformer:
    model = SwinTransformer(**SMALL, num_classes=5, drop_path_rate=0.0).eval()
    fill(model)
    return model


def transformers_config(**changes: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    arguments = {**SMALL, "depths": list(SMALL["depths"]), "num_heads": list(SMALL["num_heads"])}
    arguments.update(image_size=64, num_labels=5, drop_path_rate=0.0, **changes)
    return transformers.SwinConfig(**arguments)


def transformers_classifier(state: dict[str, Tensor]) -> Any:
    from transformers import SwinForImageClassification

    peer = SwinForImageClassification(transformers_config()).eval()
    peer.load_state_dict(to_transformers(state), strict=True)
    return peer


def timm_classifier(size: tuple[int, int], **changes: Any) -> Any:
    timm = pytest.importorskip("timm")
    arguments = {**SMALL, **changes, "img_size": size, "num_classes": 5, "strict_img_size": False}
    return timm.models.swin_transformer.SwinTransformer(**arguments, drop_path_rate=0.0).eval()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("learning", [False, True])  # a CPU computes attention in another way where gradients are kept
def test_logits_equal_transformers(size: tuple[int, int], learning: bool) -> None:
    ours = classifier()
    peer = transformers_classifier(ours.state_dict())
    with torch.set_grad_enabled(learning):
        error = worst(ours(images(size)), peer(images(size)).logits)
    assert PEER.agrees("logits", error, 1e-5)  # worst measured: 2.4e-7


@pytest.mark.parametrize("size", SIZES)
def test_the_last_map_equals_that_of_transformers_model(size: tuple[int, int]) -> None:
    from transformers import SwinModel

    ours = classifier()
    peer = SwinModel(transformers_config()).eval()
    theirs = {key.removeprefix("swin."): value for key, value in to_transformers(ours.state_dict()).items()}
    peer.load_state_dict({key: value for key, value in theirs.items() if not key.startswith("classifier.")})
    with torch.enable_grad():
        mine = ours.norm(ours.forward_stages(images(size))[-1]).flatten(1, 2)
        error = worst(mine, peer(images(size)).last_hidden_state)
    assert PEER.agrees("states", error, 1e-5)  # worst measured: 7.1e-7


@pytest.mark.parametrize("size", [*SIZES, (32, 40)])  # the last: maps smaller than a window
@pytest.mark.parametrize("out_indices", [(1, 2, 3), (2,)])
def test_maps_equal_transformers_backbone(size: tuple[int, int], out_indices: tuple[int, ...]) -> None:
    from transformers import SwinBackbone

    config = transformers_config(out_features=[f"stage{index}" for index in out_indices])
    peer = SwinBackbone(config).eval()
    fill(peer)
    ours = SwinFeatures(**SMALL, out_indices=out_indices, drop_path_rate=0.0).eval()
    report = ours.load_state_dict(from_transformers(peer.state_dict()), strict=False)
    assert report.missing_keys == []
    unused = ("norm.", "layers.2.", "layers.1.downsample.") if out_indices == (2,) else ("norm.",)
    assert all(key.startswith(unused) for key in report.unexpected_keys)
    with torch.enable_grad():
        maps, expected = ours(images(size)), peer(images(size)).feature_maps
    assert PEER.agrees("maps", max(map(worst, maps, expected)), 1e-5)  # worst measured: 6.7e-7
    assert [item.shape[1] for item in maps] == list(ours.num_channels)
    assert [item.shape[2] for item in maps] == [-(-size[0] // stride) for stride in ours.strides]


@pytest.mark.parametrize("size", [(64, 64), (128, 192)])
def test_logits_equal_timm(size: tuple[int, int]) -> None:
    """timm shifts before it pads, unlike the authors: equal only where windows divide every map."""
    ours, peer = classifier(), timm_classifier(size)
    peer.load_state_dict(to_timm(ours.state_dict()), strict=True)
    with torch.no_grad():
        error = worst(ours(images(size)), peer(images(size)))
    assert TIMM.agrees("logits", error, 1e-5)  # worst measured: 1.9e-7


@pytest.mark.parametrize("name", list_models("swin_*_patch4_*"))
def test_timms_names_are_its_networks(name: str) -> None:
    """Keys and shapes of all, and the logits of the tiny one in full size."""
    timm = pytest.importorskip("timm")
    whole = name == "swin_tiny_patch4_window7_224"
    with torch.device("cpu" if whole else "meta"):
        ours, theirs = create_model(name).eval(), timm.create_model(name).eval()
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in to_timm(ours.state_dict()).items()} == expected
    if whole:
        fill(ours)
        theirs.load_state_dict(to_timm(ours.state_dict()), strict=True)
        with torch.no_grad():
            error = worst(ours(images((224, 224), 1)), theirs(images((224, 224), 1)))
        assert TIMM.agrees("logits", error, 1e-5, name)  # worst measured: 2.7e-7


def test_padded_logits_equal_timm_where_nothing_is_shifted() -> None:
    size, depths = (72, 88), (1, 1, 1)
    ours = SwinTransformer(**{**SMALL, "depths": depths}, num_classes=5).eval()
    fill(ours)
    peer = timm_classifier(size, depths=depths)
    peer.load_state_dict(to_timm(ours.state_dict()), strict=True)
    with torch.no_grad():
        assert worst(ours(images(size)), peer(images(size))) < 1e-5  # worst measured: 2.0e-7


@pytest.mark.parametrize("size", SIZES)
def test_gradients_equal_transformers(size: tuple[int, int]) -> None:
    ours = classifier()
    peer = transformers_classifier(ours.state_dict())
    ours(images(size)).square().mean().backward()
    peer(images(size)).logits.square().mean().backward()
    mine = to_transformers({name: value.grad for name, value in ours.named_parameters() if value.grad is not None})
    expected = dict(peer.named_parameters())
    assert mine.keys() == expected.keys()
    errors = {}
    for name, value in expected.items():
        if name.endswith("k_proj.bias"):  # zero but for rounding: softmax does not see a shift of all keys
            assert mine[name].abs().max() < 1e-5 * max(item.abs().max() for item in mine.values())
        else:
            errors[name] = worst(mine[name], value.grad)
    assert PEER.agrees("gradients", max(errors.values()), 1e-5), errors  # worst measured: 2.8e-6


def test_gradients_of_images_and_biases_equal_timm() -> None:
    ours, peer = classifier(), timm_classifier((64, 64))
    peer.load_state_dict(to_timm(ours.state_dict()), strict=True)
    grads = []
    for model in (ours, peer):
        x = images((64, 64)).requires_grad_()
        model(x).square().mean().backward()
        assert x.grad is not None
        grads.append((x.grad, model.get_parameter("layers.1.blocks.1.attn.relative_position_bias_table").grad))
    assert TIMM.agrees("gradients of images and biases", max(map(worst, *grads)), 1e-5)  # worst measured: 1.5e-6


@pytest.mark.parametrize("mutant", ["no shift", "no bias", "no mask", "merging order"])
def test_the_comparison_sees_mutants(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = classifier()
    peer = transformers_classifier(ours.state_dict())
    with torch.no_grad():
        if mutant == "no shift":
            whole = Partitions.__call__
            monkeypatch.setattr(Partitions, "__call__", lambda *arguments: whole(*arguments[:4], 0, arguments[5]))
        elif mutant == "no bias":
            for name, value in ours.named_parameters():
                if name.endswith("table"):
                    value.zero_()
        elif mutant == "no mask":
            whole = Partitions.__call__
            monkeypatch.setattr(Partitions, "__call__", lambda *arguments: replace(whole(*arguments), mask=None))
        else:
            weight = ours.get_parameter("layers.0.downsample.reduction.weight")
            weight.copy_(weight.unflatten(1, (2, 2, -1)).transpose(1, 2).flatten(1))
        assert worst(ours(images(SIZES[1])), peer(images(SIZES[1])).logits) > 1e-3


def test_official_checkpoints_load_with_the_constants_they_carry() -> None:
    ours = classifier()
    official = dict(ours.state_dict())
    for stage, depth in enumerate(SMALL["depths"]):
        for block in range(depth):
            official[f"layers.{stage}.blocks.{block}.attn.relative_position_index"] = torch.zeros(16, 16).long()
        official[f"layers.{stage}.blocks.1.attn_mask"] = torch.zeros(4, 16, 16)
    other = SwinTransformer(**SMALL, num_classes=5).eval()
    other.load_state_dict(official, strict=True)
    assert torch.equal(other(images((64, 64))), ours(images((64, 64))))
    assert from_official({"model": official}).keys() == to_official(ours.state_dict()).keys()
    with pytest.raises(RuntimeError, match="relative_position_indices"):
        other.load_state_dict({**official, "layers.0.blocks.0.attn.relative_position_indices": torch.zeros(1)})


def test_the_official_layout_is_ours() -> None:
    keys = set(create_model("swin_tiny").state_dict())
    assert {
        "patch_embed.proj.weight",
        "patch_embed.norm.bias",
        "layers.0.blocks.1.attn.relative_position_bias_table",
        "layers.3.blocks.1.attn.qkv.bias",
        "layers.2.blocks.5.mlp.fc2.weight",
        "layers.2.downsample.reduction.weight",
        "layers.0.downsample.norm.weight",
        "norm.weight",
        "head.weight",
    } <= keys
    # 4 of patch embedding, 13 of each block, 3 of each merging, 2 of norm and 2 of head.
    assert len(keys) == 4 + 13 * 12 + 3 * 3 + 4


@pytest.mark.parametrize("layout", ["official", "timm", "transformers", "old transformers"])
def test_layouts_convert_both_ways(layout: str) -> None:
    state = classifier().state_dict()
    if layout == "official":
        theirs = to_official(state)
    elif layout == "timm":
        theirs = to_timm(state)
        assert theirs.keys() == timm_classifier((64, 64)).state_dict().keys()
        assert from_timm(theirs).keys() == state.keys()
    else:
        theirs = to_transformers(state)
    if layout == "old transformers":
        theirs = {_old(key): value for key, value in theirs.items()}
        theirs["swin.encoder.layers.0.blocks.0.attention.self.relative_position_index"] = torch.zeros(16, 16)
        assert "swin.encoder.layers.2.blocks.1.output.dense.bias" in theirs
    back = convert(theirs)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())


def _old(key: str) -> str:
    """Name a key as transformers' files do."""
    for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
        key = key.replace(f".attention.{part}_proj.", f".attention.self.{name}.")
    key = key.replace(".attention.relative_position_bias.", ".attention.self.")
    key = key.replace(".attention.o_proj.", ".attention.output.dense.")
    return key.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")


def test_a_backbone_goes_to_transformers_and_back() -> None:
    from transformers import SwinBackbone

    ours = SwinFeatures(**SMALL, out_indices=(1, 2, 3))
    fill(ours)
    theirs = to_transformers(ours.state_dict())
    peer = SwinBackbone(transformers_config(out_features=["stage1", "stage2", "stage3"]))
    report = peer.load_state_dict(theirs, strict=False)
    assert report.unexpected_keys == []
    assert report.missing_keys == ["swin.layernorm.weight", "swin.layernorm.bias"]
    back = from_transformers(theirs)
    assert all(torch.equal(back[key], value) for key, value in ours.state_dict().items())


def test_drop_path_has_timms_rates() -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        ours = create_model("swin_tiny", num_classes=5, drop_path_rate=0.3)
        theirs = timm.create_model("swin_tiny_patch4_window7_224", drop_path_rate=0.3)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for stage in theirs.layers for block in stage.blocks]
    found = [part.drop_path_rate for part in ours.modules() if hasattr(part, "drop_path_rate")]
    assert found == pytest.approx(rates, abs=1e-7)
    assert rates[-1] == pytest.approx(0.3)
