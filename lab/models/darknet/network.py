"""A detector built from darknet's ``.cfg`` file, for instance YOLO-Fastest 1.1. It finds; it does not train here yet.

Letters in shapes: B images, H and W pixels, N anchors of all cells of all ``[yolo]`` layers, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from lab.errors import ConfigError
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.models.darknet.cfg import read_cfg
from lab.models.darknet.layers import MODULES, YoloLayer
from lab.models.darknet.plan import CfgPlan, make_plan
from lab.ranges import Probability, Size, Word
from lab.structures import DetectionPredictions, DetectionTargets, Term


@dataclass
class DarknetOutputs:
    """What the network returns.

    Attributes:
        boxes: (B, N, 4) xyxy in pixels of the batch's images.
        objectness: (B, N) from 0 to 1.
        classes: (B, N, K) from 0 to 1, of an object that is there.
        sizes: (B, 2) (height, width) of each image without its padding.
    """

    boxes: Tensor
    objectness: Tensor
    classes: Tensor
    sizes: Tensor


class Darknet(nn.Module):
    """The network of a ``.cfg`` file.

    Args:
        num_classes: K, as in the file's ``[yolo]`` layers.
        cfg: the file.
        score_threshold: objectness, and objectness x class, below it count as nothing found.
        nms_threshold: of two boxes of a class whose IoU is above it, the one with the lower score is dropped.
        max_candidates: pairs of box and class of an image, best first, between which is chosen.
        max_detections: the number of predictions for each image; what is missing has score 0.

    Attributes:
        plan: the layers of the file.
        header: (4) int64: version of the ``.weights`` read (major, minor, revision) and images seen in training.

    Raises:
        ConfigError: the file cannot be used, or is for another number of classes.
    """

    header: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_classes: Size,
        cfg: Word,
        score_threshold: Probability = 0.005,
        nms_threshold: Probability = 0.45,
        max_candidates: Size = 1000,
        max_detections: Size = 100,
    ) -> None:
        super().__init__()
        self.plan: CfgPlan = make_plan(read_cfg(cfg))
        if self.plan.num_classes != num_classes:
            raise ConfigError(f"cfg={cfg}: its [yolo] layers have classes={self.plan.num_classes}, not {num_classes}")
        self.cfg, self.num_classes = cfg, num_classes
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.max_candidates, self.max_detections = max_candidates, max_detections
        self.layers = nn.ModuleList(MODULES[layer.kind](layer) for layer in self.plan.layers)
        self._read_later = {source for layer in self.plan.layers for source in layer.inputs}
        self.register_buffer("header", torch.tensor([0, 2, 5, 0]))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def raw_maps(self, images: Tensor) -> list[Tensor]:
        """Return what each ``[yolo]`` layer reads, in the file's order, for RGB images (B, 3, H, W) from 0 to 1."""
        self._check_size(images)
        maps: dict[int, Tensor] = {-1: images}
        found = []
        for index, (layer, module) in enumerate(zip(self.plan.layers, self.layers, strict=True)):
            result = module([maps[source] for source in layer.inputs])
            if layer.kind == "yolo":
                found.append(result)
            if index in self._read_later:
                maps[index] = result
        return found

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> DarknetOutputs:
        """Return boxes and scores for normalised images (B, 3, H, W); padding (B, H, W) is grey, as in darknet."""
        colours = images * self.std + self.mean
        height, width = images.shape[-2:]
        sizes = images.new_tensor([height, width]).expand(images.shape[0], 2)
        if padding_mask is not None:
            colours = colours.masked_fill(padding_mask[:, None], 0.5)
            seen = ~padding_mask
            sizes = torch.stack([seen.any(2).sum(1), seen.any(1).sum(1)], 1).to(images.dtype)
        heads = [module for module in self.layers if isinstance(module, YoloLayer)]
        maps = self.raw_maps(colours)
        decoded = [head.decode(each, (height, width)) for head, each in zip(heads, maps, strict=True)]
        boxes, scores = (torch.cat(parts, 1).float() for parts in zip(*decoded, strict=True))
        return DarknetOutputs(boxes, scores[..., 0], scores[..., 1:], sizes)

    @property
    def thresholds(self) -> dict[str, float]:
        """What ``predict`` applies."""
        most = {"max_detections": self.max_detections}
        return {"min_score": self.score_threshold, "nms_iou": self.nms_threshold, **most}

    def candidates(self, outputs: DarknetOutputs) -> DetectionPredictions:
        """Return all boxes before suppression, each with its best class alone, in pixels of the network's input."""
        best, labels = outputs.classes.max(dim=-1)
        return DetectionPredictions(outputs.boxes, outputs.objectness * best, labels)

    def predict(self, outputs: DarknetOutputs, original_sizes: Tensor) -> DetectionPredictions:
        """Return the boxes that remain, best first, in pixels of images of ``original_sizes`` (B, 2).

        As in darknet each class of a box counts for itself, with the score objectness x class.
        """
        objectness = outputs.objectness.masked_fill(outputs.objectness <= self.score_threshold, 0)
        scores = objectness[..., None] * outputs.classes
        scores = scores.masked_fill(scores <= self.score_threshold, 0)
        batch, anchors, classes = scores.shape
        scores, place = scores.flatten(1).topk(min(self.max_candidates, anchors * classes), dim=1)
        labels = place % classes
        box = place.div(classes, rounding_mode="floor")
        boxes = outputs.boxes.gather(1, box[..., None].expand(-1, -1, 4))
        group = labels + classes * torch.arange(batch, device=labels.device)[:, None]
        # In double: batched_nms moves groups apart by adding to coordinates, which would cost floats their digits.
        kept = batched_nms(boxes.flatten(0, 1).double(), scores.flatten().double(), group.flatten(), self.nms_threshold)
        remains = torch.zeros_like(scores, dtype=torch.bool).view(-1).index_fill(0, kept, True).view_as(scores)
        scores, order = scores.masked_fill(~remains, 0).topk(min(self.max_detections, scores.shape[1]), dim=1)
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4)) * (scores > 0)[..., None]
        factor = (original_sizes.to(boxes) / outputs.sizes.to(boxes)).flip(-1).repeat(1, 2)
        return DetectionPredictions(boxes * factor[:, None], scores, labels.gather(1, order))

    def totals(self, targets: DetectionTargets) -> Mapping[str, float]:
        """Refuse: see ``loss``."""
        self._refuse_training()

    def loss(self, outputs: DarknetOutputs, targets: DetectionTargets) -> Mapping[str, Term]:
        """Refuse: the loss of ``[yolo]`` layers is not written yet."""
        self._refuse_training()

    def _refuse_training(self) -> NoReturn:
        raise ConfigError(f"cfg={self.cfg}: a network of darknet finds objects but does not train here: no loss yet")

    def _check_size(self, images: Tensor) -> None:
        """Refuse sizes at which maps that are joined would differ from one another."""
        height, width = images.shape[-2:]
        for layer in self.plan.layers:
            if layer.kind == "yolo":
                down, across = self.plan.height / layer.shape[1], self.plan.width / layer.shape[2]
                if height % down or width % across:
                    raise ConfigError(
                        f"images of {height}x{width} pixels: {layer.name} needs multiples of {down:g}x{across:g}"
                    )
