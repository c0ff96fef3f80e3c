"""DETR3D's variants by name: ``lab.create_model("detr3d")``. Every option can be overridden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from lab.errors import LabError
from lab.models.detr3d.criterion import LOSS_OPTIONS, Detr3dLossOptions
from lab.models.detr3d.mmdetection import in_their_words, read_tree, with_sizes
from lab.models.detr3d.nested import tree
from lab.models.detr3d.network import Detr3D
from lab.models.detr3d.options import OPTIONS, Detr3dOptions
from lab.ranges import Len, Size
from lab.registry.build import build
from lab.registry.models import register_model

RESNET101 = {
    "style": "caffe",
    "norm": "frozen_batch_norm",
    "frozen_stages": 1,
    "stage_with_dcn": (False, False, True, True),
}
VOVNET = Detr3dOptions(
    backbone="vovnet99",
    backbone_indices=(1, 2, 3, 4),
    backbone_options={"frozen_stages": 1, "norm_eval": True},
    pixel_std=(58.395, 57.12, 57.375),
)
PUBLISHED = Detr3dOptions(backbone_options=RESNET101)
TINY = Detr3dOptions(
    num_queries=100,
    embed_dim=96,
    num_heads=4,
    num_layers=2,
    feedforward_dim=192,
    dropout=0.0,
    references="spread",
    max_detections=100,
    backbone="conv_stem",
    backbone_indices=(2, 3),
    backbone_options={"widths": (32, 64, 128)},
    num_levels=2,
    pixel_std=(58.395, 57.12, 57.375),
    bgr=False,
)


@register_model(classifier="pts_bbox_head.cls_branches", converter="lab.models.detr3d.weights.convert")
def detr3d(options: Detr3dOptions = PUBLISHED, loss_options: Detr3dLossOptions = LOSS_OPTIONS) -> Detr3D:
    """DETR3D on ResNet-101 with deformable convolutions: 34.7 mAP and 42.2 NDS on nuScenes, say its authors."""
    return _make(options, loss_options)


@register_model(classifier="pts_bbox_head.cls_branches", converter="lab.models.detr3d.weights.convert")
def detr3d_vovnet(options: Detr3dOptions = VOVNET, loss_options: Detr3dLossOptions = LOSS_OPTIONS) -> Detr3D:
    """DETR3D on VoVNet-99: 41.2 mAP and 47.9 NDS on nuScenes' test set, trained on all of its other frames."""
    return _make(options, loss_options)


@register_model(classifier="pts_bbox_head.cls_branches")
def detr3d_tiny(options: Detr3dOptions = TINY, loss_options: Detr3dLossOptions = LOSS_OPTIONS) -> Detr3D:
    """A DETR3D that learns small scenes on a CPU: six convolutions, two layers, queries spread over the ground."""
    return _make(options, loss_options)


def _make(options: Detr3dOptions, loss_options: Detr3dLossOptions) -> Detr3D:
    net: Detr3D = build(tree(options, loss_options))
    return net


@register_model(classifier="pts_bbox_head.cls_branches", converter="lab.models.detr3d.weights.convert")
def detr3d_nested(
    model: Mapping[str, Any],
    num_classes: Size = OPTIONS.num_classes,
    num_cameras: Size = OPTIONS.num_cameras,
    point_range: Annotated[Sequence[float], Len(6, 6)] = OPTIONS.point_range,
) -> Detr3D:
    """Build a DETR3D from the nested config of MMDetection3D, ``model`` (``lab.models.detr3d.mmdetection``)."""
    parts = with_sizes(read_tree(model), num_classes, num_cameras, point_range)
    try:
        net: Detr3D = build(parts, where="model")
    except LabError as error:
        raise in_their_words(error) from error
    return net
