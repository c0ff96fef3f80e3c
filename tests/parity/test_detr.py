"""DETR against transformers' DetrForObjectDetection, and its weights against both key layouts.

The peer runs with ``auxiliary_loss=False``: with True it feeds normalised states to the next decoder layer, which is
not what the paper's code does. Parameters, norm affines and batch statistics are random, far from the identity.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import create_model
from lab.errors import CheckpointError
from lab.models.detr.network import DETR
from lab.models.detr.weights import convert, from_official, from_transformers, to_official, to_transformers
from tests.agreement import Compared

transformers = pytest.importorskip("transformers")
torchvision = pytest.importorskip("torchvision")

SIZES = {"embed_dim": 32, "num_heads": 4, "feedforward_dim": 48, "num_queries": 9, "num_classes": 5}
LAYERS = {"num_encoder_layers": 2, "num_decoder_layers": 3}
RESNET18 = {
    "model_type": "resnet",
    "layer_type": "basic",
    "depths": [2, 2, 2, 2],
    "hidden_sizes": [64, 128, 256, 512],
    "embedding_size": 64,
    "out_features": ["stage4"],
}


PEER = Compared("detr", "transformers")


def fill(model: nn.Module) -> None:
    """Fill every entry of the state dict deterministically."""
    generator = torch.Generator().manual_seed(0)
    for name, value in sorted(model.state_dict().items()):
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("running_var"):
            value.copy_(0.7 + noise.abs())
        elif name == "query_embed.weight":
            value.copy_(noise)
        elif value.ndim > 1:
            value.copy_(1.2 * noise / value[0].numel() ** 0.5)
        else:
            value.copy_(noise * 0.3 + (1.0 if name.endswith("weight") else 0.0))


def ours(backbone: str = "resnet18", dilation: bool = False, position: str = "sine") -> DETR:
    model = DETR(**SIZES, **LAYERS, backbone=backbone, dilation=dilation, position=position).eval()
    fill(model)
    return model


def peer(model: DETR, names: str, **options: Any) -> nn.Module:
    """Return transformers' DETR of the same sizes with the weights of ours."""
    native = {"use_timm_backbone": False, "backbone_config": RESNET18} if names == "resnet" else {}
    config = transformers.DetrConfig(
        d_model=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_queries=9,
        num_labels=5,
        encoder_layers=2,
        decoder_layers=3,
        auxiliary_loss=False,
        **native,
        **options,
    )
    theirs = transformers.DetrForObjectDetection(config).eval()
    theirs.load_state_dict(to_transformers(model.state_dict(), names), strict=True)
    return theirs


def padded_batch() -> tuple[Tensor, Tensor]:
    """Return two images of different shapes in one batch, and its mask, True where padded."""
    images = torch.randn(2, 3, 160, 192, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 160, 192, dtype=torch.bool)
    mask[0, :160, :130] = mask[1, :101, :192] = False
    return images.masked_fill(mask[:, None], 0.0), mask


def worst(
    model: DETR, theirs: nn.Module, mask_given: bool = True, inputs: tuple[Tensor, Tensor] | None = None
) -> float:
    """Return the largest difference of logits and boxes of every decoder layer."""
    images, mask = inputs or padded_batch()
    with torch.no_grad():
        outputs = model(images, mask if mask_given else None)
        expected = theirs(images, pixel_mask=(~mask).long(), output_hidden_states=True)
        states = theirs.model.decoder.layernorm(torch.stack(expected.decoder_hidden_states[-3:]))
        logits, boxes = theirs.class_labels_classifier(states), theirs.bbox_predictor(states).sigmoid()
    pairs = [(outputs.logits, expected.logits), (outputs.boxes, expected.pred_boxes)]
    pairs += [(outputs.aux_outputs[i].logits, logits[i]) for i in range(2)]
    pairs += [(outputs.aux_outputs[i].boxes, boxes[i]) for i in range(2)]
    return max(float((mine - other).abs().max()) for mine, other in pairs)


@pytest.mark.parametrize("padded", [True, False])
def test_network_equals_transformers(padded: bool) -> None:
    model = ours()
    images, mask = padded_batch()
    inputs = (images, mask if padded else torch.zeros_like(mask))
    theirs = peer(model, "resnet")
    assert PEER.agrees("logits and boxes", worst(model, theirs, inputs=inputs), 1e-5)  # worst measured: 3.1e-6


def test_learned_positions_equal_transformers() -> None:
    model = ours(position="learned")
    theirs = peer(model, "resnet", position_embedding_type="learned")
    assert PEER.agrees("logits and boxes", worst(model, theirs), 1e-5)  # worst measured: 3.7e-6


def test_dilated_network_equals_transformers() -> None:
    pytest.importorskip("timm")
    model = ours("resnet50", dilation=True)
    theirs = peer(model, "timm", backbone="resnet50", dilation=True)
    assert PEER.agrees("logits and boxes, dilated", worst(model, theirs), 1e-5)  # worst measured: 3.9e-6


@pytest.mark.parametrize(
    "mutant", ["queries", "keys", "mask", "position", "query_position", "norms", "statistics", "heads"]
)
def test_the_comparison_sees_mutants(mutant: str) -> None:
    model = ours()
    theirs = peer(model, "resnet")
    decoder_layer = model.get_submodule("transformer.decoder.layers.1")
    attention = decoder_layer.multihead_attn
    with torch.no_grad():
        if mutant == "queries":
            attention.in_proj_weight[:32].zero_()
        elif mutant == "keys":
            attention.in_proj_weight[32:64].zero_()
        elif mutant == "position":
            encoding = model.backbone[1]
            encoding.encode = lambda inside: torch.zeros(len(inside), inside[0].numel(), 32)
        elif mutant == "query_position":
            model.query_embed.weight.zero_()
        elif mutant == "norms":
            decoder_layer.norm1, decoder_layer.norm2 = decoder_layer.norm2, decoder_layer.norm1
        elif mutant == "statistics":
            model.get_submodule("backbone.0.body.layer2.0.bn1").running_mean.zero_()
        elif mutant == "heads":
            attention.num_heads = 2
    assert worst(model, theirs, mask_given=mutant != "mask") > 1e-3


def official_state_dict(depth: int, num_classes: int, num_queries: int) -> dict[str, Tensor]:
    """Return the authors' key layout, put together from the modules that their code is made of."""
    backbone = getattr(torchvision.models, f"resnet{depth}")(norm_layer=torchvision.ops.FrozenBatchNorm2d)
    parts = {
        "transformer.encoder.layers": nn.ModuleList(nn.TransformerEncoderLayer(256, 8, 2048) for _ in range(6)),
        "transformer.decoder.layers": nn.ModuleList(nn.TransformerDecoderLayer(256, 8, 2048) for _ in range(6)),
        "transformer.decoder.norm": nn.LayerNorm(256),
        "class_embed": nn.Linear(256, num_classes + 1),
        "bbox_embed.layers": nn.ModuleList([nn.Linear(256, 256), nn.Linear(256, 256), nn.Linear(256, 4)]),
        "query_embed": nn.Embedding(num_queries, 256),
        "input_proj": nn.Conv2d(2048, 256, 1),
    }
    state = {f"backbone.0.body.{k}": v for k, v in backbone.state_dict().items() if not k.startswith("fc.")}
    return state | {f"{prefix}.{k}": v for prefix, module in parts.items() for k, v in module.state_dict().items()}


@pytest.mark.parametrize(("name", "depth"), [("detr_resnet50", 50), ("detr_resnet101_dc5", 101)])
def test_official_weights_load_strictly_and_go_back(name: str, depth: int, tmp_path: Any) -> None:
    with torch.device("meta"):
        official = official_state_dict(depth, 91, 100)
        model = create_model(name)
    if depth == 50:
        assert len(official) == 458  # facebookresearch/detr's detr-r50-e632da11.pth
        assert sum(value.numel() for value in model.parameters()) == pytest.approx(41.52e6, rel=1e-3)
    model.load_state_dict(from_official({"model": official}), strict=True, assign=True)
    back = to_official(model.state_dict())
    assert {key: value.shape for key, value in back.items()} == {key: v.shape for key, v in official.items()}
    assert from_official({f"detr.{key}": value for key, value in official.items()}).keys() == official.keys()


def test_an_official_file_loads_through_the_registry(tmp_path: Any) -> None:
    import argparse

    official = official_state_dict(50, 91, 100)
    torch.save({"model": official, "args": argparse.Namespace(lr=1e-4)}, tmp_path / "detr.pth")
    model = create_model("detr_resnet50", pretrained=tmp_path / "detr.pth", num_classes=3)
    assert torch.equal(model.state_dict()["query_embed.weight"], official["query_embed.weight"])
    assert model.state_dict()["class_embed.weight"].shape == (4, 256)


@pytest.mark.parametrize("backbone", ["timm", "resnet"])
def test_transformers_weights_go_both_ways(backbone: str) -> None:
    if backbone == "timm":
        pytest.importorskip("timm")
    model = ours(position="learned")
    options = {"backbone": "resnet18"} if backbone == "timm" else {}
    theirs = peer(model, backbone, position_embedding_type="learned", **options).state_dict()
    back = from_transformers(theirs)
    torch.testing.assert_close(back, model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(convert(theirs), back, rtol=0, atol=0)
    old = {old_name(key): value for key, value in theirs.items()}
    assert old.keys() != theirs.keys()
    torch.testing.assert_close(from_transformers(old), back, rtol=0, atol=0)


def old_name(key: str) -> str:
    """Return the name that transformers' version 4 wrote to files."""
    return (
        key.replace("model.backbone.", "model.backbone.conv_encoder.").replace("o_proj", "out_proj").replace("mlp.", "")
    )


def test_foreign_keys_are_named() -> None:
    with pytest.raises(CheckpointError, match=r"'roi_heads\.weight' belongs to no DETR"):
        from_transformers({"roi_heads.weight": torch.zeros(1)})
    names = [f"model.encoder.layers.0.self_attn.{part}_proj.bias" for part in "qk"]
    with pytest.raises(CheckpointError, match="expected the parts q, k, v, found k, q"):
        from_transformers({name: torch.zeros(1) for name in names})
