"""Per-pixel classification: a backbone, a feature pyramid, a class for each pixel.

The baseline of Cheng, Schwing, Kirillov, "Per-Pixel Classification is Not All You Need for Semantic Segmentation",
NeurIPS 2021, section 4.1: MaskFormer's backbone and pixel decoder (``fpn``) with a 1x1 convolution instead of the
transformer and the masks, and a cross-entropy over labelled pixels.

Names: B images, K classes, H and W pixels, h and w the finest map's size, a quarter of the image's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers.fpn import FeaturePyramid
from lab.ops.precision import full_precision
from lab.ranges import Divides, Size, Word
from lab.registry.create import create_model
from lab.structures import NO_SEGMENT, SegmentationTargets, Term

NUM_PIXELS = "num_pixels"


@dataclass
class PerPixelOutputs:
    """The network's outputs.

    Attributes:
        logits: (B, K, h, w).
        image_size: height and width of the images, with padding.
    """

    logits: Tensor
    image_size: tuple[int, int]


class PerPixel(nn.Module):
    """Segmentation by classifying pixels; a ``lab.structures.Segmenter``.

    Args:
        num_classes: K.
        embed_dim: width of the pyramid.
        mask_dim: channels of the features that are classified.
        backbone: a registered model with ``features_only``.
        backbone_options: arguments of the backbone.
        num_groups: groups of the pyramid's group norms.
    """

    def __init__(
        self,
        num_classes: Size = 150,
        embed_dim: Size = 256,
        mask_dim: Size = 256,
        backbone: Word = "resnet50",
        backbone_options: Mapping[str, Any] | None = None,
        num_groups: Annotated[Size, Divides("embed_dim")] = 32,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        body: Any = create_model(backbone, features_only=True, out_indices=(1, 2, 3, 4), **dict(backbone_options or {}))
        self.backbone = body
        self.pixel_decoder = FeaturePyramid(body.num_channels, embed_dim, mask_dim, num_groups)
        self.predictor = nn.Conv2d(mask_dim, num_classes, kernel_size=1)

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> PerPixelOutputs:
        """Classify.

        Args:
            images: (B, 3, H, W) normalised.
            padding_mask: not used: padding is part of the image; the loss ignores it.
        """
        logits = self.predictor(self.pixel_decoder(self.backbone(images)))
        return PerPixelOutputs(logits, (images.shape[-2], images.shape[-1]))

    def totals(self, targets: SegmentationTargets) -> dict[str, float]:
        """Return this batch's number of labelled pixels."""
        return {NUM_PIXELS: float(sum(targets.num_pixels))}

    def loss(self, outputs: PerPixelOutputs, targets: SegmentationTargets) -> dict[str, Term]:
        """Return ``loss_ce``, over the labelled pixels at full resolution."""
        size = targets.segments.shape[-2:]
        logits = F.interpolate(full_precision(outputs.logits), size=size, mode="bilinear", align_corners=False)
        entropy = F.cross_entropy(logits, pixel_labels(targets), ignore_index=NO_SEGMENT, reduction="sum")
        return {"loss_ce": Term(entropy, NUM_PIXELS)}

    def semantic(self, outputs: PerPixelOutputs, sizes: Tensor, original_sizes: Tensor) -> list[Tensor]:
        """Return the class of each pixel, (h0, w0) int16, for each image."""
        logits = full_precision(outputs.logits)
        results = []
        host_sizes = torch.stack((sizes.long(), original_sizes.long().to(sizes.device))).tolist()
        for index, (size, original) in enumerate(zip(*host_sizes, strict=True)):
            full = _resize(logits[index : index + 1], outputs.image_size)[..., : size[0], : size[1]]
            results.append(_resize(full, original)[0].argmax(0).to(torch.int16))
        return results


def pixel_labels(targets: SegmentationTargets) -> Tensor:
    """Return the class of each pixel, (B, H, W) int64, or ``NO_SEGMENT``."""
    counts = torch.tensor([0, *targets.counts[:-1]], dtype=torch.int64)
    first = counts.cumsum(0).to(targets.segments.device, non_blocking=True)[:, None, None]
    labels = torch.cat((targets.labels, targets.labels.new_full((1,), NO_SEGMENT)))  # the last entry is for NO_SEGMENT
    segments = targets.segments.long()
    return labels[torch.where(segments < 0, len(targets.labels), segments + first)]


def _resize(maps: Tensor, size: Any) -> Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
