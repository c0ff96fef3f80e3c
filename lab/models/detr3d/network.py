"""DETR3D: a backbone and a feature pyramid over the pictures of all cameras, and a head that finds boxes in 3-D.

Wang et al., "DETR3D: 3D Object Detection from Multi-view Images via 3D-to-2D Queries", CoRL 2021. The parts are those
of the authors' code, and so are the names of the parameters; ``lab.models.detr3d.nested`` describes them as one tree.

Names: B frames, N cameras, Q queries, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor, nn

from lab.errors import ConfigError
from lab.models.detr3d.head import Detr3dHead, Detr3dOutputs
from lab.ranges import Len
from lab.structures import Term
from lab.structures.detection3d import Detection3dPredictions, Detection3dTargets, PixelScale

CAFFE_MEAN = (123.675, 116.28, 103.53)


class Detr3D(nn.Module):
    """A ``lab.structures.detection3d.Detector3d``.

    Args:
        img_backbone: pictures (B * N, 3, H, W) to a list of maps, finest first.
        img_neck: these maps to maps of one width.
        pts_bbox_head: these maps to boxes.
        pixel_mean: of the colours red, green, blue, in 0..255; see ``pixels``.
        pixel_std: as ``pixel_mean``.
        bgr: whether the pictures are given as blue, green, red.

    Attributes:
        pixels: how the task normalises the pictures.

    Raises:
        ConfigError: the pictures are not those of several cameras.
    """

    def __init__(
        self,
        img_backbone: nn.Module,
        img_neck: nn.Module,
        pts_bbox_head: Detr3dHead,
        pixel_mean: Annotated[Sequence[float], Len(3, 3)] = CAFFE_MEAN,
        pixel_std: Annotated[Sequence[float], Len(3, 3)] = (1.0, 1.0, 1.0),
        bgr: bool = True,
    ) -> None:
        super().__init__()
        mean, std = (tuple(map(float, reversed(item) if bgr else item)) for item in (pixel_mean, pixel_std))
        self.pixels = PixelScale((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), bgr)
        self.img_backbone = img_backbone
        self.img_neck = img_neck
        self.pts_bbox_head = pts_bbox_head

    def forward(self, images: Tensor, projections: Tensor) -> Detr3dOutputs:
        """Detect.

        Args:
            images: (B, N, 3, H, W) normalised.
            projections: (B, N, 4, 4) rig to pixels.
        """
        if images.ndim != 5 or projections.shape[:2] != images.shape[:2]:
            raise ConfigError(
                f"expected images (B, N, 3, H, W) and projections (B, N, 4, 4), got {tuple(images.shape)} and "
                f"{tuple(projections.shape)}"
            )
        maps = self.img_neck(self.img_backbone(images.flatten(0, 1)))
        outputs: Detr3dOutputs = self.pts_bbox_head(maps, projections, (images.shape[-2], images.shape[-1]))
        return outputs

    def totals(self, targets: Detection3dTargets) -> dict[str, float]:
        """Return this batch's number of matched boxes."""
        return self.pts_bbox_head.criterion.totals(targets)

    def loss(self, outputs: Detr3dOutputs, targets: Detection3dTargets) -> dict[str, Term]:
        """Return the weighted terms of every layer (``Detr3dCriterion``)."""
        return self.pts_bbox_head.criterion(outputs.all_logits, outputs.all_codes, targets)

    def predict(self, outputs: Detr3dOutputs) -> Detection3dPredictions:
        """Return the best pairs of query and class of the last layer (``BoxCoder``)."""
        found: Detection3dPredictions = self.pts_bbox_head.bbox_coder(outputs.all_logits[-1], outputs.all_codes[-1])
        return found
