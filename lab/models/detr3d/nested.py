"""DETR3D as one tree of parts: Detr3D, then backbone, neck and head, then transformer, decoder and layer.

``tree`` returns the nested config of flat options; ``lab.build`` builds it, and each of its errors names the dotted
path of the part in the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from lab.models.detr3d.criterion import Detr3dLossOptions
from lab.models.detr3d.options import Detr3dOptions
from lab.registry.create import create_model

_ROOM = "lab.models.detr3d"


def tree(options: Detr3dOptions, loss_options: Detr3dLossOptions) -> dict[str, Any]:
    """Return the nested config of a DETR3D: plain dicts, lists, numbers and words; ``_target_`` makes a part."""
    backbone = {
        "_target_": options.backbone,
        **(options.backbone_options or {}),
        "features_only": True,
        "out_indices": list(options.backbone_indices),
    }
    return {
        "_target_": f"{_ROOM}.network.Detr3D",
        "img_backbone": backbone,
        "img_neck": {
            "_target_": "lab.layers.pyramid.FPN",
            "in_channels": list(channels_of(backbone)),
            "out_channels": options.embed_dim,
            "num_outs": options.num_levels,
            "add_extra_convs": "on_output",
            "relu_before_extra_convs": True,
        },
        "pts_bbox_head": {
            "_target_": f"{_ROOM}.head.Detr3dHead",
            "num_classes": options.num_classes,
            "num_queries": options.num_queries,
            "transformer": _transformer(options),
            "bbox_coder": {
                "_target_": f"{_ROOM}.coder.BoxCoder",
                "point_range": options.point_range,
                "post_center_range": options.post_center_range,
                "max_num": options.max_detections,
            },
            **asdict(loss_options),
        },
        "pixel_mean": options.pixel_mean,
        "pixel_std": options.pixel_std,
        "bgr": options.bgr,
    }


def _transformer(options: Detr3dOptions) -> dict[str, Any]:
    parts = f"{_ROOM}.transformer"
    width, dropout = options.embed_dim, options.dropout
    layer = {
        "_target_": f"{parts}.Detr3dDecoderLayer",
        "self_attention": {
            "_target_": f"{parts}.QuerySelfAttention",
            "embed_dim": width,
            "num_heads": options.num_heads,
            "dropout": dropout,
        },
        "cross_attention": {
            "_target_": f"{parts}.CameraCrossAttention",
            "embed_dim": width,
            "num_cameras": options.num_cameras,
            "num_levels": options.num_levels,
            "dropout": dropout,
        },
        "feed_forward": {
            "_target_": f"{parts}.QueryFeedForward",
            "embed_dim": width,
            "hidden_dim": options.feedforward_dim,
            "dropout": dropout,
        },
    }
    return {
        "_target_": f"{parts}.Detr3dTransformer",
        "references": options.references,
        "num_queries": options.num_queries,
        "decoder": {"_target_": f"{parts}.Detr3dDecoder", "num_layers": options.num_layers, "layer": layer},
    }


def channels_of(backbone: dict[str, Any]) -> Sequence[int]:
    """Return the channels of a backbone's maps; it is built without memory for that."""
    arguments = {key: value for key, value in backbone.items() if key != "_target_"}
    with torch.device("meta"):
        body: Any = create_model(backbone["_target_"], **arguments)
    return tuple(body.num_channels)
