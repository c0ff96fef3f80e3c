"""YOLO-FastestV2 (dog-qiuqiu, 2021): ShuffleNetV2, a light pyramid of two maps, decoupled heads.

There is no paper; written from facts about the published network and its file. Both maps share the three output
convolutions, and the three anchors of a cell share their classes.

Names: B images, K classes, A = 3 anchors of a cell, h and w cells of a map, N = sum of A h w over both maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_choice, check_range
from lab.errors import ConfigError
from lab.layers.convolution import NormName, convolve, folded, make_norm, pairs_in
from lab.models.yolo_fastest.criterion import CLASSIFICATIONS, LOSS_OPTIONS, YoloLossOptions, YoloTargeting
from lab.models.yolo_fastest.decoding import decode, suppress
from lab.ranges import Len, OneOf, Probability, Size
from lab.registry.create import create_model
from lab.structures import DetectionPredictions, DetectionTargets, Term

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

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        pairs = pairs_in(self.block)
        scales = folded(x, pairs)
        for index, pair in enumerate(pairs):
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

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the features (B, C, h, w) of boxes and of classes, of both maps."""
        both = torch.cat((F.interpolate(coarse, scale_factor=2.0), fine), dim=1)
        fine = convolve(both, *pairs_in(self.conv1x1_2)[0])
        coarse = convolve(coarse, *pairs_in(self.conv1x1_3)[0])
        return (
            (self.reg_head_2(fine), self.cls_head_2(fine)),
            (self.reg_head_3(coarse), self.cls_head_3(coarse)),
        )


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
        anchors: Annotated[Sequence[float], Len(12, 12)] = COCO_ANCHORS,
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
        self.targeting = YoloTargeting(STRIDES, self.anchors, classification, loss_options)

    def raw_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the six maps of ``YoloOutputs``, in the published order.

        Args:
            images: (B, 3, H, W) BGR from 0 to 1; H and W are multiples of 32.
        """
        maps: list[Tensor] = []
        for boxes, classes in self.fpn(*self.backbone(images)):
            maps += [convolve(boxes, self.output_reg_layers, activation="none")]
            maps += [convolve(classes, self.output_obj_layers, activation="none")]
            maps += [convolve(classes, self.output_cls_layers, activation="none")]
        return tuple(maps)

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> YoloOutputs:
        """Detect.

        Args:
            images: (B, 3, H, W) RGB from 0 to 1; padded with black to multiples of 32.
            padding_mask: (B, H, W) bool, True where padded; None when nothing is padded.
        """
        height, width = images.shape[-2:]
        if padding_mask is None:
            sizes = torch.tensor([height, width], dtype=torch.float32, device=images.device).expand(images.shape[0], 2)
        else:
            kept = ~padding_mask
            sizes = torch.stack((kept.any(dim=2).sum(dim=1), kept.any(dim=1).sum(dim=1)), dim=1).float()
        images = F.pad(images.flip(1), (0, -width % STRIDES[-1], 0, -height % STRIDES[-1]))
        return YoloOutputs(self.raw_maps(images), sizes)

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
    def thresholds(self) -> dict[str, float]:
        """What ``predict`` applies."""
        return {"min_score": self.min_score, "nms_iou": self.nms_iou, "max_detections": self.max_detections}

    def candidates(self, outputs: YoloOutputs) -> DetectionPredictions:
        """Return all boxes before suppression, in pixels of the network's input; see ``decode``."""
        return DetectionPredictions(*self.decode(outputs.maps))

    def predict(self, outputs: YoloOutputs, original_sizes: Tensor) -> DetectionPredictions:
        """Return what is left after suppression, best first; rows beyond an image's own have score 0.

        Args:
            outputs: the result of ``forward``.
            original_sizes: (B, 2) (height, width); boxes are returned in pixels of these sizes.
        """
        boxes, scores, labels = self.decode(outputs.maps)
        found = suppress(boxes, scores, labels, self.min_score, self.nms_iou, self.max_detections)
        scale = (original_sizes.to(found.boxes.dtype) / outputs.sizes).flip(-1).repeat(1, 2)
        return DetectionPredictions(found.boxes * scale[:, None], found.scores, found.labels)


def _pointwise(in_channels: int, out_channels: int, norm: NormName) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False), make_norm(norm, out_channels), nn.ReLU(inplace=True)
    )
