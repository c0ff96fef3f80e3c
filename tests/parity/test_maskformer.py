"""MaskFormer against transformers' with random weights, norms far from the identity and large position biases."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lab import create_model
from lab.errors import CheckpointError
from lab.models.maskformer.network import MaskFormer
from lab.models.maskformer.weights import convert, from_official, from_transformers, to_official, to_transformers
from lab.registry.pretrained import load_pretrained, read_state_dict
from tests.agreement import Compared
from tests.kernels import take_way

SMALL: dict[str, Any] = {
    "num_classes": 5,
    "num_queries": 7,
    "embed_dim": 32,
    "mask_dim": 32,
    "num_heads": 4,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "feedforward_dim": 64,
    "num_groups": 32,  # transformers' number: every channel is a group here
}
WIDTHS = {"fpn_feature_size": 32, "mask_feature_size": 32}
SIZES = [(64, 96), (70, 101)]  # the second divides by nothing


PEER = Compared("maskformer", "transformers")


def fill(model: nn.Module, seed: int = 0) -> None:
    """Fill parameters deterministically; norms far from the identity, position biases that decide."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(model.state_dict().items()):
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("table") or "queries_embedder" in name:
            value.copy_(noise)
        elif value.ndim > 1:
            value.copy_(noise / value[0].numel() ** 0.5)
        else:
            value.copy_(noise.abs() + 0.5 if name.endswith(("norm.weight", "var")) else 0.3 * noise + (value == 1))


def swin_pair(num_queries: int = 7) -> tuple[MaskFormer, Any]:
    """Transformers' on a narrow Swin, and ours with its weights."""
    transformers = pytest.importorskip("transformers")
    swin = {"embed_dim": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 4], "window_size": 4}
    stages = [f"stage{index}" for index in range(1, 5)]
    body = transformers.SwinConfig(image_size=64, drop_path_rate=0.0, out_features=stages, **swin)
    decoder = transformers.DetrConfig(
        d_model=32, decoder_ffn_dim=64, decoder_layers=2, num_queries=num_queries, decoder_attention_heads=4
    )
    config = transformers.MaskFormerConfig(**WIDTHS, backbone_config=body, decoder_config=decoder, num_labels=5)
    peer = transformers.MaskFormerForInstanceSegmentation(config).eval()
    fill(peer)
    ours = ours_on_swin(num_queries)
    ours.load_state_dict(from_transformers(peer.state_dict()), strict=True)
    return ours, peer


def ours_on_swin(num_queries: int = 7) -> MaskFormer:
    from lab.models.swin.network import SwinFeatures

    options = {"widths": (16, 32, 64, 128)}  # the channels of the Swin that takes its place
    model = MaskFormer(**{**SMALL, "num_queries": num_queries}, backbone="conv_stem", backbone_options=options)
    model.backbone = SwinFeatures(16, (2, 2, 2, 2), (1, 2, 4, 4), window_size=4, drop_path_rate=0.0)
    return model.eval()


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs().max() / theirs.abs().max()).detach())


def images(size: tuple[int, int]) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def difference(ours: MaskFormer, peer: Any, size: tuple[int, int]) -> float:
    with torch.no_grad():
        mine, theirs = ours(images(size)), peer(images(size))
    pairs = ((mine.class_logits, theirs.class_queries_logits), (mine.mask_logits, theirs.masks_queries_logits))
    return max(worst(*pair) for pair in pairs)


@pytest.fixture(params=["direct", "winograd"])
def convolution(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take PyTorch's ways, or Winograd's and oneDNN's also in this narrow network."""
    take_way(monkeypatch, *(("winograd", "onednn") if request.param == "winograd" else ()))


@pytest.mark.usefixtures("convolution")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("aux_loss", [True, False])  # without it the last convolution is folded into the masks
def test_outputs_equal_transformers(size: tuple[int, int], aux_loss: bool) -> None:
    ours, peer = swin_pair()
    ours.aux_loss = aux_loss
    assert PEER.agrees("classes and masks", difference(ours, peer, size), 1e-5)  # worst measured: 2.2e-6
    with torch.no_grad():
        outputs = ours(images(size))
    assert (outputs.folded is None) == aux_loss
    assert len(outputs.aux_outputs) == (1 if aux_loss else 0)
    assert outputs.mask_logits.shape == (2, 7, -(-size[0] // 4), -(-size[1] // 4))


def test_mutants_are_seen() -> None:
    ours, peer = swin_pair()
    size = SIZES[0]
    mutants = {
        "predictor.query_embed.weight": lambda value: value.flip(0) * 0,
        "pixel_decoder.adapter_2.norm.bias": lambda value: value + 1,
        "predictor.transformer.decoder.layers.1.multihead_attn.in_proj_bias": lambda value: value + 1,
        "backbone.norm1.weight": lambda value: value * 0,
        "predictor.mask_embed.layers.2.weight": lambda value: value.flip(0),
    }
    for name, mutate in mutants.items():
        parameter = ours.get_parameter(name)
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.copy_(mutate(kept))
            assert difference(ours, peer, size) > 1e-2, name
            parameter.copy_(kept)
    assert difference(ours, peer, size) < 1e-5


@pytest.mark.usefixtures("convolution")
def test_gradients_equal_transformers() -> None:
    ours, peer = swin_pair()
    size = SIZES[0]
    mine, theirs = ours(images(size)), peer(images(size))
    (mine.class_logits.square().sum() + mine.mask_logits.square().mean()).backward()
    (theirs.class_queries_logits.square().sum() + theirs.masks_queries_logits.square().mean()).backward()
    grads = to_transformers({name: value.grad for name, value in ours.named_parameters() if value.grad is not None})
    errors = {}
    for name, value in peer.named_parameters():
        if value.grad is None:
            assert "model.layernorm" in name
            continue
        if name not in grads:  # the first layer's queries are alike: nothing of what mixes them has a gradient
            assert "decoder.layers.0.self_attn." in name
            assert float(value.grad.abs().max()) < 1e-5
            continue
        if name.endswith(("k_proj.bias", "key.bias")):  # a softmax does not see it: its gradient is rounding alone
            continue
        scale = max(float(value.grad.abs().max()), 1e-2)
        errors[name] = float((grads[name] - value.grad).abs().max()) / scale
    assert PEER.agrees("gradients", max(errors.values()), 5e-4), (
        errors
    )  # worst measured: 1.2e-4, of a gradient whose entries nearly cancel


def test_the_decoder_is_that_of_lab_detr() -> None:
    """The states that classes and masks come from are DETR's decoder on the same memory."""
    ours, _ = swin_pair()
    detr: Any = create_model(
        "detr_tiny",
        num_classes=4,
        queries="learned",
        anchors="learned",
        classification="softmax",
        num_queries=7,
        embed_dim=32,
        num_heads=4,
        num_decoder_layers=2,
        feedforward_dim=64,
        dropout=0.0,
    ).eval()
    detr.transformer.decoder.load_state_dict(ours.predictor.transformer["decoder"].state_dict(), strict=True)
    detr.query_embed.load_state_dict(ours.predictor.query_embed.state_dict())
    memory = torch.randn(2, 128, 3, 5, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits, _ = ours.predictor(memory, every_layer=True)
        tokens = ours.predictor.input_proj(memory).flatten(2).transpose(1, 2)
        position = detr.backbone[1](3, 5, memory.device)
        states = detr.transformer.decoder(detr.query_embed.weight.expand(2, -1, -1), tokens, position)
    torch.testing.assert_close(logits, ours.predictor.class_embed(states))


def test_keys_go_both_ways_to_transformers() -> None:
    ours, peer = swin_pair()
    report = peer.load_state_dict(to_transformers(ours.state_dict()), strict=False)
    assert report.unexpected_keys == []
    constants = ("relative_position_index", "criterion.empty_weight", "model.layernorm.weight", "model.layernorm.bias")
    assert all(key.endswith(constants) for key in report.missing_keys)
    again = convert(to_transformers(ours.state_dict()))
    assert all(torch.equal(again[key], value) for key, value in ours.state_dict().items())
    assert again.keys() == ours.state_dict().keys()


def test_keys_of_transformers_on_a_resnet_load() -> None:
    transformers = pytest.importorskip("transformers")
    stages = [f"stage{index}" for index in range(1, 5)]
    body = transformers.ResNetConfig(out_features=stages)
    decoder = transformers.DetrConfig(d_model=32, decoder_ffn_dim=64, decoder_layers=2, num_queries=7)
    config = transformers.MaskFormerConfig(**WIDTHS, backbone_config=body, decoder_config=decoder, num_labels=5)
    with torch.device("meta"):
        peer = transformers.MaskFormerForInstanceSegmentation(config)
        ours: Any = create_model("maskformer_resnet50", **SMALL)
    converted = from_transformers(peer.state_dict())
    assert {key: value.shape for key, value in converted.items()} == {
        key: value.shape for key, value in ours.state_dict().items()
    }
    theirs = to_transformers(ours.state_dict())
    assert all(key in peer.state_dict() for key in theirs)


def detectron_layout(model: MaskFormer, version: int) -> dict[str, Tensor]:
    """The authors' names, written out anew from what their modules are called."""
    state = {}
    for key, value in model.state_dict().items():
        part, _, rest = key.partition(".")
        if part == "backbone" and rest.startswith("layer") and not rest.startswith("layers"):  # ResNet
            stage, block, layer, *last = rest.split(".")
            stage = f"res{int(stage.removeprefix('layer')) + 1}"
            if layer == "downsample":
                layer = "shortcut" if last.pop(0) == "0" else "shortcut.norm"
            elif layer.startswith("bn"):
                layer = f"conv{layer.removeprefix('bn')}.norm"
            key = ".".join(["backbone", stage, block, layer, *last])
        elif part == "backbone" and rest == "conv1.weight":
            key = "backbone.stem.conv1.weight"
        elif part == "backbone" and rest.startswith("bn1."):
            key = f"backbone.stem.conv1.norm.{rest.removeprefix('bn1.')}"
        elif part == "pixel_decoder" and version == 1:
            key = f"sem_seg_head.{rest}"
        elif part != "backbone":
            key = f"sem_seg_head.{key}"
        state[key] = value
    return {**state, "criterion.empty_weight": torch.ones(6)}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", ["resnet", "encoder", "swin"])
def test_keys_of_the_authors_load_and_go_back(kind: str, version: Any, tmp_path: Path) -> None:
    def build() -> MaskFormer:
        if kind == "swin":
            return ours_on_swin()
        changes = {"pixel_decoder": "transformer_encoder"} if kind == "encoder" else {}
        options = {"norm": "frozen_batch_norm"}
        return MaskFormer(**SMALL, **changes, backbone="resnet18", backbone_options=options).eval()

    model, other = build(), build()
    fill(model)
    theirs = detectron_layout(model, version)
    assert from_official({"model": theirs}).keys() == model.state_dict().keys()
    back = to_official(model.state_dict(), version)
    assert back.keys() == theirs.keys() - {"criterion.empty_weight"}
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps({"model": {key: value.numpy() for key, value in theirs.items()}, "__author__": "x"}))
    report = load_pretrained(other, file, converter="lab.models.maskformer.weights.convert", strict=True)
    assert not report.missing
    with torch.no_grad():
        assert torch.equal(model(images((64, 64))).mask_logits, other(images((64, 64))).mask_logits)
    if kind == "encoder":
        with pytest.raises(CheckpointError, match="only pixel_decoder=fpn"):
            to_transformers(model.state_dict())


def test_a_pickle_that_names_code_is_refused_by_name(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path(tmp_path / "made").touch, ()

    file = tmp_path / "evil.pkl"
    file.write_bytes(pickle.dumps({"model": {"weight": np.ones(2), "other": Evil()}}))
    with pytest.raises(CheckpointError, match=r"evil\.pkl.*only numpy arrays"):
        read_state_dict(file)
    assert not (tmp_path / "made").exists()
    old = tmp_path / "python2.pkl"  # as Python 2 wrote it: protocol 2, bytes as latin-1
    old.write_bytes(pickle.dumps({"model": {"weight": np.arange(3.0), "count": np.float32(2)}}, protocol=2))
    assert torch.equal(read_state_dict(old)["weight"], torch.arange(3.0, dtype=torch.float64))
