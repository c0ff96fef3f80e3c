"""What every DETR3D takes, as one flat list of numbers and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from lab.models.detr3d.network import CAFFE_MEAN
from lab.ranges import Divides, Dropout, Flat, Layers, Len, MinLen, OneOf, Size, Word


@dataclass(frozen=True)
class Detr3dOptions(Flat):
    """The published numbers; names of ``lab.models.detr3d.variants`` have other defaults.

    Attributes:
        num_classes: K; from the data.
        num_cameras: N; from the data. Each camera has weights of its own.
        point_range: (x0, y0, z0, x1, y1, z1) metres, where the boxes to be found lie; from the data.
        post_center_range: where the centre of a found box may lie; None: see ``BoxCoder``.
        max_detections: the most boxes of a frame.
        num_queries: Q.
        embed_dim: width of queries and features.
        num_heads: heads of the self-attention.
        num_layers: layers of the decoder.
        feedforward_dim: hidden width of the feed-forward nets.
        dropout: probability in every layer of the decoder.
        references: where queries begin to look: ``learned`` as published, or ``spread`` over the ground.
        backbone: a registered model with ``features_only``.
        backbone_indices: which of its maps are used: 0 is the stem, 1 to 4 the stages.
        backbone_options: arguments of the backbone.
        num_levels: levels of features; those beyond the backbone's maps halve the resolution of the last one.
        pixel_mean: mean of the colours red, green, blue, in 0..255.
        pixel_std: their standard deviations.
        bgr: whether the backbone takes blue, green, red.
    """

    num_classes: Size = 10
    num_cameras: Size = 6
    point_range: Annotated[Sequence[float], Len(6, 6)] = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
    post_center_range: Annotated[Sequence[float], Len(6, 6)] | None = None
    max_detections: Size = 300
    num_queries: Size = 900
    embed_dim: Size = 256
    num_heads: Annotated[Size, Divides("embed_dim")] = 8
    num_layers: Layers = 6
    feedforward_dim: Size = 512
    dropout: Dropout = 0.1
    references: Annotated[str, OneOf("learned", "spread")] = "learned"
    backbone: Word = "resnet101"
    backbone_indices: Annotated[Sequence[int], MinLen(1)] = (2, 3, 4)
    backbone_options: Mapping[str, Any] | None = None
    num_levels: Size = 4
    pixel_mean: Annotated[Sequence[float], Len(3, 3)] = CAFFE_MEAN
    pixel_std: Annotated[Sequence[float], Len(3, 3)] = (1.0, 1.0, 1.0)
    bgr: bool = True


OPTIONS = Detr3dOptions()
