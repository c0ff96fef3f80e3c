"""Weights of MMDetection3D's DETR3D in both conventions of boxes, as files and as state dicts."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lab
from lab.errors import CheckpointError
from lab.models.detr3d.coder import decode
from lab.models.detr3d.weights import convert, from_mmdetection3d, from_official, to_mmdetection3d, to_official
from scripts import convert_weights
from tests.parity.test_detr3d import fill
from tests.rigs import rig

SMALL: dict[str, Any] = {
    "num_queries": 8,
    "embed_dim": 16,
    "num_heads": 2,
    "num_layers": 2,
    "feedforward_dim": 16,
    "backbone": "resnet18",
    "backbone_options": {"norm": "frozen_batch_norm"},
    "backbone_indices": (2, 3),
    "num_levels": 3,
}
OLD = {"mmdet3d_version": "0.17.1", "CLASSES": ("car",), "config": "model = dict()"}
NEW = {"mmdet3d_version": "1.1.0rc3"}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    made = lab.create_model("detr3d", **SMALL)
    fill(made.get_submodule("pts_bbox_head"))
    return made.eval()


def outputs(net: Any) -> Tensor:
    images = torch.randn(1, 6, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = net(images, rig(6, 1, (64, 96)))
    return found.all_codes[-1]


def published_boxes(codes: Tensor) -> Tensor:
    """Decode by the rules of version 0.17, and turn the boxes into those of version 1.0 as its migration says."""
    x, y, width, length, z, height, sine, cosine, vx, vy = codes.unbind(-1)
    yaw = -torch.atan2(sine, cosine) - math.pi / 2
    return torch.stack([x, y, z, length.exp(), width.exp(), height.exp(), yaw, vx, vy], -1)


def test_keys_are_the_published_ones(net: nn.Module) -> None:
    """The names that the authors' files have, for layers of each kind."""
    keys = {re.sub(r"\d+", "0", key) for key in to_official(net.state_dict())}
    attention = "pts_bbox_head.transformer.decoder.layers.0.attentions.0"
    for name in (
        "img_backbone.conv0.weight",
        "img_backbone.layer0.0.bn0.num_batches_tracked",
        "img_neck.lateral_convs.0.conv.bias",
        "img_neck.fpn_convs.0.conv.weight",
        "pts_bbox_head.code_weights",
        "pts_bbox_head.query_embedding.weight",
        "pts_bbox_head.cls_branches.0.0.weight",
        "pts_bbox_head.reg_branches.0.0.bias",
        "pts_bbox_head.transformer.reference_points.weight",
        f"{attention}.attn.in_proj_weight",
        f"{attention}.attn.out_proj.bias",
        f"{attention}.attention_weights.weight",
        f"{attention}.output_proj.weight",
        f"{attention}.position_encoder.0.weight",
        "pts_bbox_head.transformer.decoder.layers.0.ffns.0.layers.0.0.weight",
        "pts_bbox_head.transformer.decoder.layers.0.ffns.0.layers.0.bias",
        "pts_bbox_head.transformer.decoder.layers.0.norms.0.weight",
    ):
        assert name in keys


@pytest.mark.parametrize(
    ("there", "back"), [(to_official, from_official), (to_mmdetection3d, from_mmdetection3d)], ids=["old", "new"]
)
def test_both_ways(net: nn.Module, there: Any, back: Any) -> None:
    state = net.state_dict()
    found = back(there(state))
    assert {key for key in found if not key.endswith("num_batches_tracked")} == state.keys()  # its norms are frozen
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_the_older_convention_finds_the_same_boxes(net: nn.Module, tmp_path: Path) -> None:
    """The authors' file, its codes decoded by the rules of its time, against ours after loading."""
    theirs = lab.create_model("detr3d", **SMALL).eval()
    old = to_official(net.state_dict())
    theirs.load_state_dict(from_mmdetection3d(old))  # not converted: it predicts codes of the older convention
    file = tmp_path / "detr3d_resnet101.pth"
    torch.save({"meta": OLD, "state_dict": old, "optimizer": {}}, file)
    ours = lab.create_model("detr3d", pretrained=file, **SMALL).eval()
    assert torch.equal(outputs(ours), outputs(net))
    expected, found = published_boxes(outputs(theirs)), decode(outputs(ours))
    torch.testing.assert_close(found[..., :6], expected[..., :6], rtol=1e-5, atol=1e-5)  # worst measured: 0
    turn = (found[..., 6] - expected[..., 6] + math.pi).remainder(2 * math.pi) - math.pi
    assert turn.abs().max() < 1e-5
    assert not torch.allclose(outputs(theirs), outputs(ours), atol=1e-2)


@pytest.mark.parametrize("meta", [NEW, {"mmengine_version": "0.6.0"}, {**OLD, "detr3d_convert_tag": True}])
def test_files_of_the_newer_convention_are_not_converted(net: nn.Module, tmp_path: Path, meta: dict[str, Any]) -> None:
    file = tmp_path / "new.pth"
    torch.save({"meta": meta, "state_dict": to_mmdetection3d(net.state_dict())}, file)
    ours = lab.create_model("detr3d", pretrained=file, **SMALL).eval()
    assert torch.equal(outputs(ours), outputs(net))


def test_our_own_weights_stay(net: nn.Module) -> None:
    state = net.state_dict()
    assert convert(state) == state


def test_a_file_that_does_not_tell_its_convention_is_refused_until_it_is_converted(
    net: nn.Module, tmp_path: Path
) -> None:
    file, target = tmp_path / "bare.pth", tmp_path / "ours.safetensors"
    torch.save(to_official(net.state_dict()), file)
    with pytest.raises(CheckpointError, match=r"bare.pth do not fit: .* of which version.*--from official"):
        lab.create_model("detr3d", pretrained=file, **SMALL)
    convert_weights.convert(file, target, "detr3d", "lab", given="official")
    assert torch.equal(outputs(lab.create_model("detr3d", pretrained=target, **SMALL).eval()), outputs(net))


def test_a_file_of_vovnet_loads(tmp_path: Path) -> None:
    """The keys of VoVNet's layers pass through both layouts as they are: the authors' names are lab's."""
    words = {**SMALL, "backbone": "vovnet19_slim_dw", "backbone_options": {}, "backbone_indices": (1, 2)}
    net = lab.create_model("detr3d_vovnet", **words).eval()
    fill(net.get_submodule("pts_bbox_head"))
    old = to_official(net.state_dict())
    names = {key for key in old if key.startswith("img_backbone.")}
    assert "img_backbone.stage2.OSA2_1.ese.fc.weight" in names
    assert "img_backbone.stem.stem_1/conv.weight" in names
    file = tmp_path / "detr3d_vovnet.pth"
    torch.save({"meta": OLD, "state_dict": old}, file)
    assert torch.equal(outputs(lab.create_model("detr3d_vovnet", pretrained=file, **words).eval()), outputs(net))
