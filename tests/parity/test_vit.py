"""ViT against timm's, torchvision's and transformers', with random norm affines; and the authors' ``.npz`` by timm."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab import create_model
from lab.errors import CheckpointError, ConfigError
from lab.models.vit.network import VisionTransformer, ViTFeatures
from lab.models.vit.weights import convert, to_official, to_timm, to_torchvision, to_transformers
from lab.registry.weights import read_state_dict
from tests.agreement import Compared

timm = pytest.importorskip("timm")

SMALL: dict[str, Any] = {"embed_dim": 32, "depth": 3, "num_heads": 2, "patch_size": 8, "img_size": 32}
SIZES = [(32, 32), (40, 24), (29, 50)]
"""That of the position embeddings, another, and one of broken patches."""


TIMM = Compared("vit", "timm")
BOTH = Compared("vit", "timm and torchvision")


def fill(model: nn.Module, seed: int = 0) -> None:
    """Fill parameters deterministically; norms far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(model.state_dict().items()):
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim > 1:
            value.copy_(noise / (value[0].numel() ** 0.5 if value.shape[0] > 1 else 1.0))
        else:
            value.copy_(noise * 0.3 + (1.0 if "norm" in name and name.endswith("weight") else 0.0))


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs().max() / theirs.abs().max()).detach())


def images(size: tuple[int, int] = (32, 32), channels: int = 3) -> Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))


def classifier(**changes: Any) -> VisionTransformer:
    model = VisionTransformer(**{**SMALL, "num_classes": 5, **changes}).eval()
    fill(model)
    return model


def of_timm(**changes: Any) -> Any:
    sizes = {**SMALL, "num_classes": 5, "dynamic_img_size": True, "dynamic_img_pad": True, **changes}
    return timm.models.VisionTransformer(**sizes).eval()


def of_torchvision() -> nn.Module:
    torchvision = pytest.importorskip("torchvision")
    model: nn.Module = torchvision.models.VisionTransformer(32, 8, 3, 2, 32, 128, num_classes=5).eval()
    return model


def of_transformers(**changes: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 128}
    config = transformers.ViTConfig(
        **sizes, image_size=32, patch_size=8, num_labels=5, **{"layer_norm_eps": 1e-6, **changes}
    )
    return transformers.ViTForImageClassification(config).eval()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pool", ["token", "avg"])
@pytest.mark.parametrize("in_chans", [3, 1])
def test_logits_and_gradients_equal_timm(size: tuple[int, int], pool: str, in_chans: int) -> None:
    ours, theirs = classifier(global_pool=pool, in_chans=in_chans), of_timm(global_pool=pool, in_chans=in_chans)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    with torch.no_grad():
        assert TIMM.agrees(
            "logits", worst(ours(images(size, in_chans)), theirs(images(size, in_chans))), 2e-6
        )  # worst measured: 4.7e-7
    for model in (ours, theirs):
        model.train()(images(size, in_chans)).square().mean().backward()
    expected = dict(theirs.named_parameters())
    # The bias of keys has no gradient in exact arithmetic, so errors are relative to the largest of all.
    largest = max(float(value.grad.abs().max()) for value in expected.values())
    errors = [float((value.grad - expected[name].grad).abs().max()) for name, value in ours.named_parameters()]
    assert TIMM.agrees("gradients", max(errors) / largest, 2e-6)  # worst measured: 3.8e-7


@pytest.mark.parametrize("source", ["torchvision", "transformers"])
def test_logits_and_gradients_equal_the_others(source: str) -> None:
    ours = classifier()
    theirs = of_torchvision() if source == "torchvision" else of_transformers()
    to_theirs = to_torchvision if source == "torchvision" else to_transformers
    theirs.load_state_dict(to_theirs(ours.state_dict()), strict=True)

    def logits() -> Tensor:
        found = theirs(images())
        return found if isinstance(found, Tensor) else found.logits

    with torch.no_grad():
        assert Compared("vit", source).agrees("logits", worst(ours(images()), logits()), 2e-6)  # worst measured: 2.2e-7
    ours.train()(images()).square().mean().backward()
    theirs.train()
    logits().square().mean().backward()
    expected = convert({name: value.grad for name, value in theirs.named_parameters()})
    largest = max(float(value.abs().max()) for value in expected.values())
    errors = [float((value.grad - expected[name]).abs().max()) for name, value in ours.named_parameters()]
    assert Compared("vit", source).agrees("gradients", max(errors) / largest, 2e-6)  # worst measured: 3.8e-7
    back = convert(theirs.state_dict())
    assert back.keys() == ours.state_dict().keys()
    assert all(torch.equal(back[key], value) for key, value in ours.state_dict().items())


def test_full_size_equals_timm_and_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision")
    x = images((224, 224))
    for name, theirs, names in (
        ("vit_tiny_patch16_224", timm.create_model("vit_tiny_patch16_224").eval(), to_timm),
        ("vit_base_patch32_224", torchvision.models.vit_b_32().eval(), to_torchvision),
    ):
        ours = create_model(name).eval()
        fill(ours)
        theirs.load_state_dict(names(ours.state_dict()), strict=True)
        with torch.no_grad():
            assert BOTH.agrees("logits", worst(ours(x), theirs(x)), 5e-6, name)  # worst measured: 7.7e-7


@pytest.mark.parametrize("mutant", ["places", "epsilon", "tanh", "pool"])
def test_the_comparison_sees_mutants(mutant: str) -> None:
    ours, theirs = classifier(), of_timm()
    theirs.load_state_dict(ours.state_dict())
    if mutant == "places":  # the class token's own is forgotten
        nn.init.zeros_(ours.pos_embed[:, :1])
    elif mutant == "epsilon":
        for module in ours.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-3
    elif mutant == "tanh":
        for block in ours.blocks:
            fc1 = block.get_submodule("mlp.fc1")
            fc1.gelu = lambda x, fc1=fc1: F.gelu(fc1(x), approximate="tanh")
    else:
        ours.global_pool = "avg"
        ours.fc_norm = ours.norm
    with torch.no_grad():
        assert worst(ours(images()), theirs(images())) > 1e-5


def test_the_authors_file_loads_here_and_ours_there(tmp_path: Path) -> None:
    """timm reads the file that we write, and we read it as timm does."""
    ours = classifier()
    arrays = to_official(ours.state_dict(), num_heads=2)
    assert arrays["Transformer/encoderblock_1/MultiHeadDotProductAttention_1/query/kernel"].shape == (32, 2, 16)
    assert arrays["Transformer/encoderblock_0/MultiHeadDotProductAttention_1/out/kernel"].shape == (2, 16, 32)
    assert arrays["embedding/kernel"].shape == (8, 8, 3, 32)
    file = tmp_path / "authors.npz"
    np.savez(file, **{key: value.numpy() for key, value in arrays.items()})
    theirs = of_timm()
    theirs.load_pretrained(str(file))
    with torch.no_grad():
        assert worst(ours(images()), theirs(images())) < 2e-6  # worst measured: 2.2e-7
    for beginning in ("", "opt/target/"):
        back = convert({beginning + key: value for key, value in arrays.items()})
        assert back.keys() == ours.state_dict().keys()
        assert all(torch.equal(back[key], value) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("beginning", ["params/", "params/img/", ""])
def test_files_of_big_vision_load_as_in_timm(beginning: str, stacked: bool, tmp_path: Path) -> None:
    """The authors' later code has other names, and may stack all blocks in one array."""
    ours = classifier()
    arrays: dict[str, Any] = {}
    for key, value in to_official(ours.state_dict(), num_heads=2).items():
        key = key.replace("Transformer/posembed_input/", "").replace("LayerNorm_2", "LayerNorm_1")
        key = key.replace("MlpBlock_3", "MlpBlock_0").replace("ProductAttention_1", "ProductAttention_0")
        block = re.match(r"Transformer/encoderblock_(\d+)/(.*)", key)
        if stacked and block is not None:
            arrays.setdefault(f"{beginning}Transformer/encoderblock/{block[2]}", []).append(value.numpy())
        else:
            arrays[beginning + key] = value.numpy()
    np.savez(tmp_path / "big_vision.npz", **{key: np.asarray(item) for key, item in arrays.items()})
    theirs = of_timm()
    theirs.load_pretrained(str(tmp_path / "big_vision.npz"))
    found = convert(read_state_dict(tmp_path / "big_vision.npz"))
    assert found.keys() == ours.state_dict().keys()
    assert all(torch.equal(found[key], value) for key, value in ours.state_dict().items())
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("layout", ["npz", "torchvision", "transformers", "old transformers"])
def test_files_of_every_layout_load_by_name(layout: str, tmp_path: Path) -> None:
    source = create_model("vit_tiny_patch16_224", num_classes=7, img_size=64)
    fill(source)
    if layout == "npz":
        file = tmp_path / "weights.npz"
        np.savez(file, **{key: value.numpy() for key, value in to_official(source.state_dict()).items()})
    else:
        file = tmp_path / "weights.pth"
        to_theirs = to_torchvision if layout == "torchvision" else to_transformers
        state = to_theirs(source.state_dict())
        torch.save({_old(key): value for key, value in state.items()} if layout.startswith("old") else state, file)
    loaded = create_model("vit_tiny_patch16_224", num_classes=7, img_size=64, pretrained=file)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in loaded.state_dict().items())


def _old(key: str) -> str:
    """Name a key as transformers' files do."""
    key = key.replace("vit.layers.", "vit.encoder.layer.")
    for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
        key = key.replace(f".attention.{part}_proj.", f".attention.attention.{name}.")
    key = key.replace(".attention.o_proj.", ".attention.output.dense.")
    return key.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")


def test_weights_of_another_size_and_of_colour_adapt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = create_model("vit_tiny_patch16_224", num_classes=7)
    fill(source)
    file = tmp_path / "weights.pth"
    torch.save(source.state_dict(), file)
    with caplog.at_level(logging.INFO):
        ours = create_model("vit_tiny_patch16_384", num_classes=5, in_chans=1, pretrained=file)
    assert "position embeddings resampled from 14x14 to 24x24 patches" in caplog.text
    assert "adapted from 3 to 1 channels" in caplog.text
    assert "another number of classes and was dropped" in caplog.text
    expected = timm.layers.resample_abs_pos_embed(source.pos_embed, (24, 24))
    assert torch.equal(ours.pos_embed, expected)
    stem = source.get_submodule("patch_embed.proj").weight
    assert torch.equal(ours.get_submodule("patch_embed.proj").weight, timm.models.adapt_input_conv(1, stem))
    torch.save({**source.state_dict(), "pos_embed": torch.zeros(1, 15, 192)}, file)
    with pytest.raises(CheckpointError, match=r"pos_embed \(1, 15, 192\) is of no square map"):
        create_model("vit_tiny_patch16_384", num_classes=7, pretrained=file)


@pytest.mark.parametrize("size", SIZES)
def test_maps_equal_timm_and_the_pyramid_its_operations(size: tuple[int, int]) -> None:
    ours = ViTFeatures(**SMALL, out_indices=(1, 2, 3, 4)).eval()
    fill(ours)
    theirs = of_timm()
    report = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert report.missing_keys == ["head.weight", "head.bias"]
    assert all(key.startswith("pyramid.") for key in report.unexpected_keys)
    assert (ours.num_channels, ours.strides) == ((8, 16, 32, 32), (2, 4, 8, 16))
    with torch.no_grad():
        maps = ours(images(size))
        last = theirs.forward_intermediates(images(size), indices=1, norm=True, intermediates_only=True)[0]
        state = {key.removeprefix("pyramid."): value for key, value in ours.state_dict().items()}
        x = F.conv_transpose2d(last, state["1.0.weight"], state["1.0.bias"], stride=2).permute(0, 2, 3, 1)
        x = F.gelu(F.layer_norm(x, (16,), state["1.1.weight"], state["1.1.bias"], 1e-6)).permute(0, 3, 1, 2)
        finest = F.conv_transpose2d(x, state["1.3.weight"], state["1.3.bias"], stride=2)
        second = F.conv_transpose2d(last, state["2.weight"], state["2.bias"], stride=2)
        coarse = F.max_pool2d(last, 2, ceil_mode=True)
    for found, expected, stride in zip(maps, (finest, second, last, coarse), ours.strides, strict=True):
        height, width = -(-size[0] // stride), -(-size[1] // stride)
        assert found.shape[2:] == (height, width)
        assert TIMM.agrees("maps", worst(found, expected[..., :height, :width]), 2e-6)  # worst measured: 5.3e-7


def test_a_backbone_takes_a_classifiers_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = create_model("vit_tiny_patch16_224", num_classes=7)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    ours = create_model(
        "vit_tiny_patch16_224", features_only=True, out_indices=(2, 3), pretrained=tmp_path / "weights.pth"
    )
    assert "the pyramid has no weights in this file and stays as it is" in caplog.text
    assert (ours.num_channels, ours.strides) == ((96, 192), (8, 16))
    assert torch.equal(ours.get_submodule("blocks.11.mlp.fc2").weight, source.get_submodule("blocks.11.mlp.fc2").weight)


def test_a_hook_sees_every_token_of_the_last_block() -> None:
    ours = classifier()
    with torch.no_grad():
        expected = ours(images())
        seen: list[Tensor] = []
        ours.blocks[-1].get_submodule("attn").register_forward_hook(lambda module, inputs, output: seen.append(output))
        found = ours(images())
    assert seen[0].shape == (2, 17, 32)
    assert worst(found, expected) < 2e-6  # worst measured: 1.4e-7


def test_mistakes_are_named() -> None:
    for arguments, said in (
        ({"img_size": 100}, "img_size"),
        ({"global_pool": "max"}, "global_pool"),
        ({"dropout": 1.0}, "dropout"),
        ({"features_only": True, "out_indices": (0,)}, r"out_indices=\(0,\)"),
        ({"features_only": True, "global_pool": "avg"}, "pools nothing"),
    ):
        with pytest.raises(ConfigError, match=said):
            create_model("vit_tiny_patch16_224", **arguments)
    with pytest.raises(ConfigError, match=r"shape \(2, 1, 32, 32\): expected \(B, 3, H, W\)"):
        classifier()(images(channels=1))
    with pytest.raises(ConfigError, match="num_heads"):
        VisionTransformer(**{**SMALL, "num_heads": 3})


def test_weights_begin_as_in_the_authors_code() -> None:
    torch.manual_seed(0)
    ours = create_model("vit_tiny_patch16_224", weight_init="jax")
    theirs = timm.create_model("vit_tiny_patch16_224", weight_init="jax")
    expected = {name: value.std().item() for name, value in theirs.named_parameters()}
    for name, value in ours.named_parameters():
        if "qkv.weight" in name:  # timm fills the three layers of the authors as one
            for part in value.chunk(3):
                assert part.std().item() == pytest.approx((1 / 192) ** 0.5, rel=0.02)
        elif name.endswith("weight") and value.ndim > 1:
            assert value.std().item() == pytest.approx(expected[name], rel=0.02), name
    assert not ours.head.weight.any()
    assert ours.pos_embed.std().item() == pytest.approx(0.02, rel=0.02)


def test_drop_path_has_timms_rates_and_its_mean() -> None:
    """The rates of the blocks; and a branch that is dropped for whole samples, on average as if it was not."""
    with torch.device("meta"):
        ours = VisionTransformer(**{**SMALL, "depth": 5}, num_classes=5, drop_path_rate=0.4)
        theirs = of_timm(depth=5, drop_path_rate=0.4)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in theirs.blocks]
    assert [block.drop_path_rate for block in ours.blocks] == pytest.approx(rates)
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    block = classifier(drop_path_rate=0.5).blocks[-1]
    x = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(2)).expand(4096, -1, -1)
    with torch.no_grad():
        whole = block.eval()(x[:1]) - x[:1]
        torch.manual_seed(0)
        dropped = block.train()(x) - x
    # x + 2 a b, where a and b drop the two branches: 0 in a quarter of the samples
    assert (dropped.flatten(1).abs().amax(1) == 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert (whole.abs().max() > 0).item()


def test_weights_of_a_class_token_begin_a_network_of_the_mean(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """timm's ``norm`` becomes ``fc_norm``; of a file without a head the head is left."""
    source = classifier()
    torch.save({key: value for key, value in source.state_dict().items() if "head" not in key}, tmp_path / "body.pth")
    arguments = {"num_classes": 5, "pretrained": str(tmp_path / "body.pth"), "global_pool": "avg"}
    name = "vit_tiny_patch16_224"
    whole = create_model(name, num_classes=5).eval()
    state = {key: value for key, value in whole.state_dict().items() if not key.startswith("head.")}
    torch.save(state, tmp_path / "body.pth")
    with caplog.at_level(logging.WARNING):
        found = create_model(name, **arguments)
    assert "their norm becomes that of the mean" in caplog.text
    assert "it has no weights of head" in caplog.text
    assert torch.equal(found.fc_norm.weight, state["norm.weight"])
