"""The parts of MMDetection3D's nested config of a DETR3D: their arguments there and here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.models.detr3d.coder import CODE_SIZE

_ROOM = "lab.models.detr3d"
MODULES = f"{_ROOM}.transformer"
MmdetConfig = Mapping[str, Any]


@dataclass(frozen=True)
class MmdetPart:
    """How a part of MMDetection3D's config is read.

    Attributes:
        target: what is built.
        names: its arguments, theirs to ours.
        only: arguments with the one value that is supported.
        parts: arguments that are parts themselves, theirs to ours.
        unused: arguments that MMDetection3D takes and does not use.
    """

    target: str
    names: Mapping[str, str] = field(default_factory=dict)
    only: MmdetConfig = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


_FPN = ("in_channels", "out_channels", "num_outs", "start_level", "end_level", "add_extra_convs")
PARTS: Mapping[str, MmdetPart] = {
    "Detr3D": MmdetPart(
        f"{_ROOM}.network.Detr3D",
        parts={"img_backbone": "img_backbone", "img_neck": "img_neck", "pts_bbox_head": "pts_bbox_head"},
        unused=("pretrained",),
    ),
    "FPN": MmdetPart("lab.layers.pyramid.FPN", {name: name for name in (*_FPN, "relu_before_extra_convs")}),
    "Detr3DHead": MmdetPart(
        f"{_ROOM}.head.Detr3dHead",
        {"num_query": "num_queries", "num_classes": "num_classes", "num_reg_fcs": "num_branch_layers"},
        {"with_box_refine": True, "as_two_stage": False, "sync_cls_avg_factor": True, "code_size": CODE_SIZE},
        {"transformer": "transformer", "bbox_coder": "bbox_coder"},
        ("in_channels", "positional_encoding", "num_cls_fcs"),
    ),
    "Detr3DTransformer": MmdetPart(
        f"{MODULES}.Detr3dTransformer",
        only={"two_stage_num_proposals": 300},
        parts={"decoder": "decoder"},
        unused=("num_feature_levels", "num_cams"),
    ),
    "Detr3DTransformerDecoder": MmdetPart(
        f"{MODULES}.Detr3dDecoder",
        {"num_layers": "num_layers"},
        {"return_intermediate": True},
        {"transformerlayers": "layer"},
    ),
    "MultiheadAttention": MmdetPart(
        f"{MODULES}.QuerySelfAttention", {"embed_dims": "embed_dim", "num_heads": "num_heads", "dropout": "dropout"}
    ),
    "Detr3DCrossAtten": MmdetPart(
        f"{MODULES}.CameraCrossAttention",
        {"embed_dims": "embed_dim", "num_cams": "num_cameras", "num_levels": "num_levels", "dropout": "dropout"},
        {"num_points": 1},
        unused=("pc_range", "num_heads", "im2col_step"),
    ),
    "NMSFreeCoder": MmdetPart(
        f"{_ROOM}.coder.BoxCoder",
        {"pc_range": "point_range", "post_center_range": "post_center_range", "max_num": "max_num"},
        {"score_threshold": None},
        unused=("voxel_size", "num_classes"),
    ),
}
_HEAD, _LAYER = "model.pts_bbox_head", "model.pts_bbox_head.transformer.decoder.layer"
_THEIR_LAYER = "model.pts_bbox_head.transformer.decoder.transformerlayers"
SPELLED = (  # parts of our paths and theirs, applied in this order
    (f"{_LAYER}.self_attention.embed_dim", f"{_THEIR_LAYER}.attn_cfgs.0.embed_dims"),
    (f"{_LAYER}.self_attention", f"{_THEIR_LAYER}.attn_cfgs.0"),
    (f"{_LAYER}.cross_attention.embed_dim", f"{_THEIR_LAYER}.attn_cfgs.1.embed_dims"),
    (f"{_LAYER}.cross_attention", f"{_THEIR_LAYER}.attn_cfgs.1"),
    (f"{_LAYER}.feed_forward.hidden_dim", f"{_THEIR_LAYER}.feedforward_channels"),
    (f"{_LAYER}.feed_forward.dropout", f"{_THEIR_LAYER}.ffn_dropout"),
    (f"{_LAYER}.feed_forward", _THEIR_LAYER),
    (_LAYER, _THEIR_LAYER),
    (f"{_HEAD}.num_queries", f"{_HEAD}.num_query"),
    (f"{_HEAD}.num_branch_layers", f"{_HEAD}.num_reg_fcs"),
    (f"{_HEAD}.bbox_coder.point_range", f"{_HEAD}.bbox_coder.pc_range"),
    (f"{_HEAD}.class_loss_weight", f"{_HEAD}.loss_cls.loss_weight"),
    (f"{_HEAD}.focal_alpha", f"{_HEAD}.loss_cls.alpha"),
    (f"{_HEAD}.focal_gamma", f"{_HEAD}.loss_cls.gamma"),
    (f"{_HEAD}.box_loss_weight", f"{_HEAD}.loss_bbox.loss_weight"),
    (f"{_HEAD}.cost_class", "model.train_cfg.pts.assigner.cls_cost.weight"),
    (f"{_HEAD}.cost_box", "model.train_cfg.pts.assigner.reg_cost.weight"),
)
ALIASES = {"DETR3D": "Detr3D", "DETR3DHead": "Detr3DHead"}
