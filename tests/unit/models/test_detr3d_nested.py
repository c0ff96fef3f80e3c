"""The tree of a DETR3D's parts, built by ``lab.build`` from flat options and from MMDetection3D's nested config."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import lab
from lab.errors import ConfigError, LabError
from lab.models.detr3d.criterion import LOSS_OPTIONS
from lab.models.detr3d.mmdetection import read_tree
from lab.models.detr3d.nested import tree
from lab.models.detr3d.variants import TINY

RANGE = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
LAYER = "pts_bbox_head.transformer.decoder.transformerlayers"


def published() -> dict[str, Any]:
    """Return the ``model`` of the authors' config for ResNet-101."""
    return {
        "type": "Detr3D",
        "use_grid_mask": True,
        "img_backbone": {
            "type": "mmdet.ResNet",
            "depth": 101,
            "num_stages": 4,
            "out_indices": (0, 1, 2, 3),
            "frozen_stages": 1,
            "norm_cfg": {"type": "BN2d", "requires_grad": False},
            "norm_eval": True,
            "style": "caffe",
            "dcn": {"type": "DCNv2", "deform_groups": 1, "fallback_on_stride": False},
            "stage_with_dcn": (False, False, True, True),
        },
        "img_neck": {
            "type": "FPN",
            "in_channels": [256, 512, 1024, 2048],
            "out_channels": 256,
            "start_level": 1,
            "add_extra_convs": "on_output",
            "num_outs": 4,
            "relu_before_extra_convs": True,
        },
        "pts_bbox_head": {
            "type": "Detr3DHead",
            "num_query": 900,
            "num_classes": 10,
            "in_channels": 256,
            "sync_cls_avg_factor": True,
            "with_box_refine": True,
            "as_two_stage": False,
            "transformer": {
                "type": "Detr3DTransformer",
                "decoder": {
                    "type": "Detr3DTransformerDecoder",
                    "num_layers": 6,
                    "return_intermediate": True,
                    "transformerlayers": {
                        "type": "DetrTransformerDecoderLayer",
                        "attn_cfgs": [
                            {"type": "MultiheadAttention", "embed_dims": 256, "num_heads": 8, "dropout": 0.1},
                            {"type": "Detr3DCrossAtten", "pc_range": RANGE, "num_points": 1, "embed_dims": 256},
                        ],
                        "feedforward_channels": 512,
                        "ffn_dropout": 0.1,
                        "operation_order": ("self_attn", "norm", "cross_attn", "norm", "ffn", "norm"),
                    },
                },
            },
            "bbox_coder": {
                "type": "NMSFreeCoder",
                "post_center_range": [-61.2, -61.2, -10.0, 61.2, 61.2, 10.0],
                "pc_range": RANGE,
                "max_num": 300,
                "voxel_size": [0.2, 0.2, 8],
                "num_classes": 10,
            },
            "positional_encoding": {"type": "SinePositionalEncoding", "num_feats": 128},
            "loss_cls": {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 2.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 0.25},
            "loss_iou": {"type": "GIoULoss", "loss_weight": 0.0},
        },
        "train_cfg": {
            "pts": {
                "assigner": {
                    "type": "HungarianAssigner3D",
                    "cls_cost": {"type": "FocalLossCost", "weight": 2.0},
                    "reg_cost": {"type": "BBox3DL1Cost", "weight": 0.25},
                    "iou_cost": {"type": "IoUCost", "weight": 0.0},
                    "pc_range": RANGE,
                }
            }
        },
    }


def shapes(net: torch.nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in net.state_dict().items()}


def set_at(config: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    node: Any = config
    for part in parents:
        node = node[int(part)] if part.isdigit() else node[part]
    if value is None:
        del node[last]
    else:
        node[last] = value


def test_the_published_config_gives_the_network_of_the_flat_options() -> None:
    config = published()
    before = copy.deepcopy(config)
    with torch.device("meta"):
        nested: Any = lab.create_model("detr3d_nested", model=config)
        flat: Any = lab.create_model("detr3d")
    assert config == before
    assert shapes(nested) == shapes(flat)
    assert [p.requires_grad for p in nested.parameters()] == [p.requires_grad for p in flat.parameters()]
    assert nested.pixels == flat.pixels
    assert nested.pts_bbox_head.criterion.options == flat.pts_bbox_head.criterion.options
    assert nested.pts_bbox_head.bbox_coder.post_center_range == flat.pts_bbox_head.bbox_coder.post_center_range
    assert sum(p.numel() for p in nested.pts_bbox_head.transformer.parameters()) == 4_005_267  # the authors' 4.005 M


def test_the_shipped_yaml_is_the_published_network() -> None:
    file = Path(__file__).parents[3] / "conf/model/detr3d_nested.yaml"
    net = yaml.safe_load(file.read_text())["model"]["net"]
    ours, theirs = (json.loads(json.dumps(read_tree(model))) for model in (net["model"], published()))
    del theirs["pts_bbox_head"]["num_classes"], theirs["pts_bbox_head"]["bbox_coder"]["point_range"]
    del theirs["pts_bbox_head"]["bbox_coder"]["post_center_range"]
    for key, value in tree(TINY, LOSS_OPTIONS)["pts_bbox_head"].items():
        if key in theirs["pts_bbox_head"] and key not in ours["pts_bbox_head"]:
            assert theirs["pts_bbox_head"].pop(key) == value  # the published numbers are the defaults
    assert ours == theirs


def test_the_tree_can_be_written_with_any_target_key() -> None:
    """As for every tree of ``lab.build``: ``type`` instead of ``_target_``, a part replaced by its path."""

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {"type" if key == "_target_" else key: renamed(item) for key, item in value.items()}
        return value

    config = tree(TINY, LOSS_OPTIONS)
    with torch.device("meta"):
        net = lab.build(renamed(config), target_key="type", **{"pts_bbox_head.transformer.decoder.num_layers": 3})
        expected = lab.create_model("detr3d_tiny", num_layers=3)
    assert shapes(net) == shapes(expected)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("type", "Detr3DD", r"model.type: unknown 'Detr3DD'; did you mean 'Detr3D'"),
        ("type", "resnet18", r"^model.type='resnet18': expected 'Detr3D'"),
        ("img_backbone", None, r"model.img_backbone: missing; Detr3D needs it"),
        ("img_backbone.depth", 99, r"model.img_backbone.depth=99: expected 18, 34, 50, 101 or 152"),
        ("img_backbone.dcn.type", "DCN", r"model.img_backbone.dcn.type='DCN': only 'DCNv2' is supported"),
        ("img_neck.num_out", 4, r"model.img_neck.num_out: FPN has no argument 'num_out'; did you mean 'num_outs'"),
        ("img_neck.num_outs", 2, r"model.img_neck: num_outs=2: should be at least 3"),
        ("pts_bbox_head.as_two_stage", True, r"model.pts_bbox_head.as_two_stage=True: only False is supported"),
        ("pts_bbox_head.num_classes", 8, r"model.pts_bbox_head.num_classes=8: the data has 10"),
        ("pts_bbox_head.loss_iou.loss_weight", 1.0, r"pts_bbox_head.loss_iou.loss_weight=1.0: only 0.0 is supported"),
        ("pts_bbox_head.num_query", 0, r"^model.pts_bbox_head.num_query=0: should be"),
        ("pts_bbox_head.loss_cls.alpha", 2.0, r"^model.pts_bbox_head.loss_cls.alpha=2.0: should be"),
        ("train_cfg.pts.assigner.cls_cost.weight", -1.0, r"^model.train_cfg.pts.assigner.cls_cost.weight=-1.0: should"),
        (f"{LAYER}.feedforward_channels", 0, r"^model.*.decoder.transformerlayers.feedforward_channels=0: should"),
        ("pts_bbox_head.transformer.decoder.num_layer", 6, r"transformer.decoder.num_layer: Detr3DTransformerDecoder"),
        (f"{LAYER}.attn_cfgs.0.num_heads", 7, r"^model.*.transformerlayers.attn_cfgs.0"),
        (f"{LAYER}.attn_cfgs.1.type", "Detr3DCrossAttn", r"attn_cfgs.1.type: unknown 'Detr3DCrossAttn'; did you mean"),
        (f"{LAYER}.attn_cfgs.1.num_points", 4, r"attn_cfgs.1.num_points=4: only 1 is supported"),
        (f"{LAYER}.attn_cfgs.1.num_cams", 5, r"attn_cfgs.1.num_cams=5: the data has 6"),
        (
            f"{LAYER}.attn_cfgs.1.embed_dims",
            128,
            r"decoder.transformerlayers: self_attention, .* \[256, 128, 256\]",
        ),
        (f"{LAYER}.operation_order", ("ffn",), r"transformerlayers.operation_order=\['ffn'\]: only \['self_attn'"),
        ("train_cfg.pts.assigner.reg_cost.wait", 1, r"train_cfg.pts.assigner.reg_cost.wait: BBox3DL1Cost has no arg"),
    ],
)
def test_every_error_names_the_dotted_path(path: str, value: Any, message: str) -> None:
    config = published()
    set_at(config, path, value)
    with torch.device("meta"), pytest.raises(LabError, match=message) as caught:
        lab.create_model("detr3d_nested", model=config)
    assert "\n" not in str(caught.value)


def test_a_part_may_be_one_of_the_users_own() -> None:
    """A registered name or a path stands in place of a type; its arguments are its own."""
    config = published()
    config["img_backbone"] = {"type": "conv_stem", "widths": [8, 16, 24, 32]}
    config["img_neck"]["type"] = "lab.layers.pyramid.FPN"
    config["img_neck"]["in_channels"] = [8, 16, 24, 32]
    with torch.device("meta"):
        net: Any = lab.create_model("detr3d_nested", model=config, num_classes=10, num_cameras=5)
    assert net.pts_bbox_head.transformer.decoder.layers[0].attentions[1].num_cameras == 5
    assert net.img_neck.lateral_convs[0].conv.in_channels == 16


def test_what_is_not_used_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        read_tree(published())
    said = [record.getMessage() for record in caplog.records]
    assert "model.pts_bbox_head.positional_encoding: not used, as in MMDetection3D" in said
    assert any("model.use_grid_mask" in line for line in said)


@pytest.mark.parametrize("make", [lambda: {"type": 5}, lambda: [], lambda: {"img_backbone": {}}])
def test_a_config_without_a_type_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError, match="model: expected a mapping with 'type'"):
        read_tree({"img_backbone": 1} if make() == [] else make())
