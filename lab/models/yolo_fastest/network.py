"""YOLO-FastestV2 (dog-qiuqiu, 2021): ShuffleNetV2, a light pyramid of two maps, decoupled heads.

There is no paper; written from facts about the published network and its file. Both maps share the three output
convolutions, and the three anchors of a cell share their classes.

Names: B images, K classes, A = 3 anchors of a cell, h and w cells of a map, N = sum of A h w over both maps.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_choice, check_range
from lab.errors import ConfigError
from lab.layers.convolution import NormName, Scales, convolve, make_norm, pairs_in
from lab.layers.remembered import Remembered
from lab.models.yolo_fastest.criterion import CLASSIFICATIONS, LOSS_OPTIONS, YoloLossOptions, YoloTargeting
from lab.models.yolo_fastest.decoding import decode, likely_boxes, suppress
from lab.models.yolo_fastest.deployment import map_layouts, probability_maps
from lab.models.yolo_fastest.weights import BACKBONE
from lab.ops.boxes import in_originals
from lab.ops.images import sizes_without_padding
from lab.ranges import Gt, Len, OneOf, Probability, Size
from lab.registry.create import create_model
from lab.structures import DetectionPredictions, DetectionTargets, Term
from lab.structures.maps import MapLayout

logger = logging.getLogger(__name__)
STRIDES = (16, 32)
NUM_ANCHORS = 3
COCO_ANCHORS = (12.64, 19.39, 37.88, 51.48, 55.71, 138.31, 126.91, 78.23, 131.57, 214.55, 279.92, 258.87)
"""Width and height in pixels of images of 352: three of stride 16, then three of stride 32."""


@dataclass
class YoloOutputs:
    """The network's outputs.

    Attributes:
        maps: (B, A * 4, h, w), (B, A, h, w) and (B, K, h, w), box, objectness and class logits, of stride 16; then the
            three of stride 32.
        sizes: (B, 2) float32 (height, width) of each image without its padding.
    """

    maps: tuple[Tensor, ...]
    sizes: Tensor


class Head(nn.Module):
    """Two depthwise 5x5 convolutions, each before a 1x1 without an activation."""

    def __init__(self, channels: int, norm: NormName) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [
                nn.Conv2d(channels, channels, 5, 1, 2, groups=channels, bias=False),
                make_norm(norm, channels),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 1, bias=False),
                make_norm(norm, channels),
            ]
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        for index, pair in enumerate(pairs_in(self.block)):
            x = convolve(x, *pair, activation="none" if index % 2 else "relu", scales=scales)
        return x


class LightFPN(nn.Module):
    """Brings two maps to one width, the finer one with the coarser one's channels before its own, and runs the heads.

    Args:
        channels: those of the maps of stride 16 and 32.
        width: C, of every map after that.
        norm: of each convolution.
    """

    def __init__(self, channels: Sequence[int], width: int, norm: NormName) -> None:
        super().__init__()
        self.conv1x1_2 = _pointwise(sum(channels), width, norm)
        self.conv1x1_3 = _pointwise(channels[1], width, norm)
        self.cls_head_2, self.reg_head_2 = Head(width, norm), Head(width, norm)
        self.cls_head_3, self.reg_head_3 = Head(width, norm), Head(width, norm)

    def forward(
        self, fine: Tensor, coarse: Tensor, scales: Scales | None = None
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the features (B, C, h, w) of boxes and of classes, of both maps."""
        joins, alone = pairs_in(self.conv1x1_2)[0], pairs_in(self.conv1x1_3)[0]
        if scales:
            fine = _joined_by_rows(fine, coarse, *scales[joins[0]])
        else:
            fine = convolve(torch.cat((F.interpolate(coarse, scale_factor=2.0), fine), dim=1), *joins)
        coarse = convolve(coarse, *alone, scales=scales)
        return (
            (self.reg_head_2(fine, scales), self.cls_head_2(fine, scales)),
            (self.reg_head_3(coarse, scales), self.cls_head_3(coarse, scales)),
        )

    def heads(self) -> tuple[Head, ...]:
        """Return the heads of boxes and classes of stride 16, then of 32."""
        return self.reg_head_2, self.cls_head_2, self.reg_head_3, self.cls_head_3

    def pairs(self) -> list[tuple[nn.Conv2d, nn.Module | None]]:
        """Return the convolutions, each with its norm."""
        layers = (self.conv1x1_2, self.conv1x1_3, *(head.block for head in self.heads()))
        return [pair for each in layers for pair in pairs_in(each)]


def _joined_by_rows(fine: Tensor, coarse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the rectified 1x1 convolution of the coarser map, enlarged, and the finer one, without joining them.

    A 1x1 of enlarged pixels is the enlarged 1x1 of a fourth as many.

    Args:
        fine: (B, D, 2 h, 2 w).
        coarse: (B, E, h, w).
        weight: (C, E + D, 1, 1).
        bias: (C,).
    """
    batch, channels, height, width = coarse.shape
    ours, theirs = weight.flatten(1).t().split((channels, fine.shape[1]))
    small = torch.addmm(bias, coarse.permute(0, 2, 3, 1).flatten(0, 2), ours)
    large = small.view(batch, height, 1, width, 1, -1).expand(-1, -1, 2, -1, 2, -1)
    large = large.contiguous().flatten(0, 4)  # flattened alone, a map of one pixel would stay a view
    pixels = fine.permute(0, 2, 3, 1).flatten(0, 2)
    large.addmm_(pixels, theirs).relu_()
    return large.view(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


class YoloFastestV2(nn.Module):
    """The detector; a ``lab.structures.Detector``.

    Args:
        num_classes: K.
        width: channels of pyramid and heads.
        norm: ``batch_norm``, ``frozen_batch_norm`` or ``group_norm``, of backbone and heads.
        anchors: width and height in pixels of three boxes for stride 16, then of three for stride 32.
        classification: ``softmax``, as published, or ``sigmoid``.
        loss_options: of matching and loss.
        min_score: predictions below it are not returned.
        nms_iou: of two boxes of one class that overlap more, the one with the lower score is not returned.
        max_detections: the most predictions for an image.

    Attributes:
        image_statistics: mean and standard deviation that the images have lost: they are colours from 0 to 1.

    Raises:
        ConfigError: a choice is unknown, or an anchor is not above 0.
    """

    image_statistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def __init__(
        self,
        num_classes: Size = 80,
        width: Size = 72,
        norm: Annotated[str, OneOf("batch_norm", "frozen_batch_norm", "group_norm")] = "batch_norm",
        anchors: Annotated[Sequence[Annotated[float, Gt(0)]], Len(12, 12)] = COCO_ANCHORS,
        classification: Annotated[str, OneOf("softmax", "sigmoid")] = "softmax",
        loss_options: YoloLossOptions = LOSS_OPTIONS,
        min_score: Probability = 0.01,
        nms_iou: Probability = 0.4,
        max_detections: Size = 300,
    ) -> None:
        super().__init__()
        check_choice("classification", classification, CLASSIFICATIONS)
        if len(anchors) != 2 * NUM_ANCHORS * len(STRIDES):
            raise ConfigError(f"anchors: {len(anchors)} numbers; expected 12, width and height of six boxes")
        for size in anchors:
            check_range("anchors", size, above=0)
        self.num_classes = num_classes
        self.classification = classification
        self.anchors = tuple(float(size) for size in anchors)
        self.min_score, self.nms_iou, self.max_detections = min_score, nms_iou, max_detections
        self.backbone = create_model("shufflenet_v2_yolo_fastest", features_only=True, out_indices=(3, 4), norm=norm)
        self.fpn = LightFPN(self.backbone.num_channels, width, norm)  # type: ignore[arg-type]
        self.output_reg_layers = nn.Conv2d(width, 4 * NUM_ANCHORS, 1)
        self.output_obj_layers = nn.Conv2d(width, NUM_ANCHORS, 1)
        self.output_cls_layers = nn.Conv2d(width, num_classes, 1)
        self.ends: nn.ModuleList | None = None
        self.scales = Remembered(self, self._pairs)
        self.targeting = YoloTargeting(STRIDES, self.anchors, classification, loss_options)

    def raw_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the six maps of ``YoloOutputs``, in the published order.

        Args:
            images: (B, 3, H, W) BGR from 0 to 1; H and W are multiples of 32.
        """
        fine, coarse = self.backbone(images)
        ends: list[Any] = list(self.ends or ())
        outputs: list[Any] = ends or [self.output_reg_layers, self.output_obj_layers, self.output_cls_layers]
        scales = self.scales(fine)
        maps: list[Tensor] = []
        for index, (boxes, classes) in enumerate(self.fpn(fine, coarse, scales)):
            if ends:
                reg, joint = (
                    convolve(found, layer, activation="none", scales=scales)
                    for found, layer in zip((boxes, classes), ends[2 * index :], strict=False)
                )
                maps += [reg, *joint.split((NUM_ANCHORS, self.num_classes), dim=1)]
            else:
                maps += [
                    convolve(found, layer, activation="none", scales=scales)
                    for found, layer in zip((boxes, classes, classes), outputs, strict=True)
                ]
        return tuple(maps)

    def map_layouts(self) -> dict[str, MapLayout]:
        """Return how the maps of deployed files are read."""
        return map_layouts(STRIDES, self.anchors, self.classification, self.num_classes)

    def maps_as(self, layout: str, images: Tensor) -> tuple[Tensor, ...]:
        """Return ``raw_maps``, or two maps of probabilities as the author's own files have them."""
        maps = self.raw_maps(images)
        return maps if layout == "maps" else probability_maps(maps, self.classification)

    def _pairs(self) -> list[tuple[nn.Conv2d, nn.Module | None]]:
        """Return the convolutions behind the backbone, each with its norm."""
        outputs: Any = self.ends or (self.output_reg_layers, self.output_obj_layers, self.output_cls_layers)
        return [*self.fpn.pairs(), *((layer, None) for layer in outputs)]

    def keep_constants(self) -> None:
        """Make one of the last 1x1 of a head and the output convolutions behind it, for ``lab.deploy``.

        Nothing stands between them once the norms are folded. Objectness and classes share one.
        """
        heads = self.fpn.heads()
        if not all(isinstance(norm, nn.Identity) for head in heads for _, norm in pairs_in(head.block)):
            return
        outputs = ([self.output_reg_layers], [self.output_obj_layers, self.output_cls_layers])
        self.ends = nn.ModuleList(
            _chained(pairs_in(head.block)[-1][0], *outputs[i % 2]) for i, head in enumerate(heads)
        )
        for head in heads:
            head.block = head.block[:-2]
        del self.output_reg_layers, self.output_obj_layers, self.output_cls_layers

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> YoloOutputs:
        """Detect.

        Args:
            images: (B, 3, H, W) RGB from 0 to 1; padded with black to multiples of 32.
            padding_mask: (B, H, W) bool, True where padded; None when nothing is padded.
        """
        height, width = images.shape[-2:]
        sizes = sizes_without_padding(images, padding_mask)
        images = F.pad(images.flip(1), (0, -width % STRIDES[-1], 0, -height % STRIDES[-1]))
        return YoloOutputs(self.raw_maps(images), sizes)

    def adapt_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return pretrained weights; to those of the backbone alone the rest is added as it is, and that is said."""
        if not state or not all(key.startswith(BACKBONE) for key in state):
            return dict(state)
        own = {key: value for key, value in self.state_dict().items() if not key.startswith(BACKBONE)}
        logger.warning("the weights are of a backbone: the other %d tensors are new, to be trained", len(own))
        return {**state, **own}

    def totals(self, targets: DetectionTargets) -> dict[str, float]:
        """Return this batch's share of the normalisers: number of boxes and of images."""
        return self.targeting.totals(targets)

    def loss(self, outputs: YoloOutputs, targets: DetectionTargets) -> dict[str, Term]:
        """Return the terms of boxes, objectness and classes (``YoloTargeting``)."""
        return self.targeting(outputs.maps, targets)

    def decode(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return all N boxes (B, N, 4) xyxy in pixels of the network's input, their scores and labels (B, N).

        A score is objectness times the probability of the best class. In order of stride, row, column and anchor.
        """
        return decode(maps, STRIDES, self.anchors, self.classification)

    @property
    def most_objects(self) -> tuple[str, int]:
        """The argument that limits the objects of an image, and its value."""
        return "max_detections", self.max_detections

    @property
    def thresholds(self) -> dict[str, float]:
        """What ``predict`` applies."""
        return {"min_score": self.min_score, "nms_iou": self.nms_iou, "max_boxes": self.max_detections}

    def candidates(self, outputs: YoloOutputs) -> DetectionPredictions:
        """Return all boxes before suppression, in pixels of the network's input; see ``decode``."""
        return DetectionPredictions(*self.decode(outputs.maps))

    def predict(self, outputs: YoloOutputs, original_sizes: Tensor) -> DetectionPredictions:
        """Return what is left after suppression, best first; rows beyond an image's own have score 0.

        Cells that begin in the padding and boxes outside of the image are left out; boxes are clipped to the image.

        Args:
            outputs: the result of ``forward``.
            original_sizes: (B, 2) (height, width); boxes are returned in pixels of these sizes.
        """
        if outputs.sizes.is_meta:  # shapes only: none depends on values
            found = DetectionPredictions(*(part[:, : self.max_detections] for part in self.decode(outputs.maps)))
        else:
            options = (self.anchors, self.classification, self.min_score)
            likely = likely_boxes(outputs.maps, outputs.sizes, STRIDES, *options)
            found = suppress(likely, len(outputs.sizes), self.nms_iou, self.max_detections)
        boxes = in_originals(found.boxes, outputs.sizes, original_sizes, clip=True)
        return DetectionPredictions(boxes, found.scores, found.labels)


def _pointwise(in_channels: int, out_channels: int, norm: NormName) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False), make_norm(norm, out_channels), nn.ReLU(inplace=True)
    )


@torch.no_grad()
def _chained(first: nn.Conv2d, *then: nn.Conv2d) -> nn.Conv2d:
    """Return one 1x1 convolution that does what the first and those behind it do, whose results follow each other."""
    weight, bias = (torch.cat([getattr(layer, name) for layer in then]) for name in ("weight", "bias"))
    matrix = weight.flatten(1)
    chained = nn.Conv2d(first.in_channels, len(weight), 1, device=weight.device, dtype=weight.dtype)
    chained.weight.copy_((matrix @ first.weight.flatten(1))[..., None, None])
    chained.bias.copy_(torch.addmv(bias, matrix, first.bias))  # type: ignore[union-attr, arg-type]
    return chained.requires_grad_(False)
