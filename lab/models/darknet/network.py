"""A detector built from darknet's description of it: YOLO-Fastest 1.1, or what a ``.cfg`` file holds.

Letters in shapes: B images, H and W pixels, N anchors of all cells of all ``[yolo]`` layers, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms

from lab.checking import check_range
from lab.errors import ConfigError, closest
from lab.layers.convolution import folded
from lab.models.darknet.cfg import Section, read_cfg
from lab.models.darknet.criterion import DarknetTargeting
from lab.models.darknet.deployment import map_layouts
from lab.models.darknet.description import ANCHORS, WIDTHS, describe
from lab.models.darknet.layers import MODULES, ConvolutionLayer, YoloLayer
from lab.models.darknet.learning import LOSS_OPTIONS, DarknetLossOptions
from lab.models.darknet.plan import CfgPlan, make_plan
from lab.ops.boxes import in_originals, reach_into
from lab.ops.images import own_cells, sizes_without_padding
from lab.ranges import Len, Probability, Size, Word
from lab.structures import DetectionPredictions, DetectionTargets, Term
from lab.structures.maps import MapLayout
from lab.system.files import is_there

GREY = 0.5
"""The colour of padding, as in darknet."""
MOST_STRIDE = 1024


@dataclass
class DarknetOutputs:
    """What the network returns.

    Attributes:
        maps: (B, A * (5 + K), h, w), what each ``[yolo]`` layer reads, in the file's order.
        size: (height, width) of the network's input in pixels.
        sizes: (B, 2) (height, width) of each image without its padding.
    """

    maps: tuple[Tensor, ...]
    size: tuple[int, int]
    sizes: Tensor


class Darknet(nn.Module):
    """A network of darknet; a ``lab.structures.Detector``.

    Args:
        num_classes: K; of a file, as in its ``[yolo]`` layers.
        cfg: ``yolo_fastest_v1_1``, ``yolo_fastest_v1_1_xl``, or a ``.cfg`` file.
        anchors: width and height in pixels of three boxes for stride 16, then of three for stride 32; None: published.
            A file has its own.
        loss_options: numbers of the loss in place of those of the file.
        score_threshold: objectness, and objectness x class, below it count as nothing found.
        nms_threshold: of two boxes of a class whose IoU is above it, the one with the lower score is dropped.
        max_candidates: pairs of box and class of an image, best first, between which is chosen.
        max_detections: the number of predictions for each image; what is missing has score 0.

    Attributes:
        sections: the description.
        plan: the layers.
        header: (4) int64: version of the ``.weights`` read (major, minor, revision) and images seen in training.
        image_statistics: mean and standard deviation that the images have lost: they are colours from 0 to 1.

    Raises:
        ConfigError: the file cannot be used, or is for another number of classes.
    """

    image_statistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    header: Tensor

    def __init__(
        self,
        num_classes: Size = 80,
        cfg: Word = "yolo_fastest_v1_1",
        anchors: Annotated[Sequence[float], Len(12, 12)] | None = None,
        loss_options: DarknetLossOptions = LOSS_OPTIONS,
        score_threshold: Probability = 0.005,
        nms_threshold: Probability = 0.45,
        max_candidates: Size = 1000,
        max_detections: Size = 100,
    ) -> None:
        super().__init__()
        self.sections = _sections(cfg, num_classes, anchors)
        self.plan: CfgPlan = make_plan(self.sections)
        if self.plan.num_classes != num_classes:
            raise ConfigError(f"cfg={cfg}: its [yolo] layers have classes={self.plan.num_classes}, not {num_classes}")
        self.cfg, self.num_classes = cfg, num_classes
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.max_candidates, self.max_detections = max_candidates, max_detections
        self.layers = nn.ModuleList(MODULES[layer.kind](layer) for layer in self.plan.layers)
        self.stride = _stride(self.plan)
        self._read_later = {source for layer in self.plan.layers for source in layer.inputs}
        self._sizes = {(self.plan.height, self.plan.width)}
        heads = [layer for layer in self.plan.layers if layer.learning is not None]
        learning = [layer.learning.told(loss_options) for layer in heads if layer.learning is not None]
        self.targeting = DarknetTargeting(learning, [layer.number for layer in heads], f"cfg={cfg}")
        self.register_buffer("header", torch.tensor([0, 2, 5, 0]))

    def raw_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return what each ``[yolo]`` layer reads, in the file's order.

        Args:
            images: (B, 3, H, W) RGB from 0 to 1; H and W are multiples of ``stride``, or the file's own.

        Raises:
            ConfigError: the network cannot have images of this size; which layer does not fit.
        """
        self._check_size(images.shape[-2:])
        if images.device.type in ("cpu", "meta") or torch.is_autocast_enabled(images.device.type):
            # oneDNN and tensor cores compute in this layout; the layers keep it.
            images = images.contiguous(memory_format=torch.channels_last)
        convolutions = [module for module in self.layers if isinstance(module, ConvolutionLayer)]
        scales = folded(images, [(module.conv, module.norm) for module in convolutions if module.conv.bias is None])
        maps: dict[int, Tensor] = {-1: images}
        found = []
        for index, (layer, module) in enumerate(zip(self.plan.layers, self.layers, strict=True)):
            inputs = [maps[source] for source in layer.inputs]
            result = module(inputs, scales) if isinstance(module, ConvolutionLayer) else module(inputs)
            if layer.kind == "yolo":
                found.append(result)
            if index in self._read_later:
                maps[index] = result
        return tuple(found)

    def map_layouts(self) -> dict[str, MapLayout]:
        """Return how the maps of deployed files are read."""
        return map_layouts(self.plan)

    def maps_as(self, layout: str, images: Tensor) -> tuple[Tensor, ...]:
        """Return ``raw_maps``, the one layout."""
        return self.raw_maps(images)

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> DarknetOutputs:
        """Detect.

        Args:
            images: (B, 3, H, W) RGB from 0 to 1; they are padded to multiples of ``stride``.
            padding_mask: (B, H, W) bool, True where padded; None when nothing is padded. Padding becomes grey.
        """
        height, width = images.shape[-2:]
        sizes = sizes_without_padding(images, padding_mask)
        if padding_mask is not None:
            images = images.masked_fill(padding_mask[:, None], GREY)
        if self._is_padded(height, width):
            images = F.pad(images, (0, -width % self.stride, 0, -height % self.stride), value=GREY)
        return DarknetOutputs(self.raw_maps(images), (images.shape[-2], images.shape[-1]), sizes)

    def totals(self, targets: DetectionTargets) -> Mapping[str, float]:
        """Return this batch's share of the normaliser: the number of images."""
        return self.targeting.totals(targets)

    def loss(self, outputs: DarknetOutputs, targets: DetectionTargets) -> Mapping[str, Term]:
        """Return the terms of boxes, objectness and classes (``DarknetTargeting``)."""
        return self.targeting(outputs.maps, outputs.size, targets)

    def decode(self, outputs: DarknetOutputs) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (B, N, 4) xyxy in pixels of the network's input, objectness (B, N), classes (B, N, K)."""
        heads = [module for module in self.layers if isinstance(module, YoloLayer)]
        parts = [head.decode(each.float(), outputs.size) for head, each in zip(heads, outputs.maps, strict=True)]
        boxes, scores = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        return boxes, scores[..., 0], scores[..., 1:]

    @property
    def most_objects(self) -> tuple[str, int]:
        """The argument that limits the objects of an image, and its value."""
        return "max_detections", self.max_detections

    @property
    def thresholds(self) -> dict[str, float]:
        """What ``predict`` applies."""
        most = {"max_boxes": self.max_detections}
        return {"min_score": self.score_threshold, "nms_iou": self.nms_threshold, **most}

    def candidates(self, outputs: DarknetOutputs) -> DetectionPredictions:
        """Return all boxes before suppression, each with its best class alone, in pixels of the network's input."""
        boxes, objectness, classes = self.decode(outputs)
        best, labels = classes.max(dim=-1)
        return DetectionPredictions(boxes, objectness * best, labels)

    def predict(self, outputs: DarknetOutputs, original_sizes: Tensor) -> DetectionPredictions:
        """Return the boxes that remain, best first, in pixels of images of ``original_sizes`` (B, 2).

        As in darknet each class of a box counts for itself, with the score objectness x class. Cells that begin in the
        padding and boxes outside of the image are left out; boxes are clipped to the image.
        """
        every, objectness, chances = self.decode(outputs)
        left_out = ~(self._own_places(outputs) & reach_into(every, outputs.sizes[:, None]))
        objectness = objectness.masked_fill(left_out | (objectness <= self.score_threshold), 0)
        scores = objectness[..., None] * chances
        scores = scores.masked_fill(scores <= self.score_threshold, 0)
        batch, anchors, classes = scores.shape
        scores, place = scores.flatten(1).topk(min(self.max_candidates, anchors * classes), dim=1)
        labels = place % classes
        box = place.div(classes, rounding_mode="floor")
        boxes = every.gather(1, box[..., None].expand(-1, -1, 4))
        group = labels + classes * torch.arange(batch, device=labels.device)[:, None]
        if not scores.is_meta:  # shapes only: none depends on values
            # In double: batched_nms moves groups apart by adding to coordinates, which would cost floats their digits.
            flat = boxes.flatten(0, 1).double(), scores.flatten().double(), group.flatten()
            kept = batched_nms(*flat, self.nms_threshold)
            remains = torch.zeros_like(scores, dtype=torch.bool).view(-1).index_fill(0, kept, True).view_as(scores)
            scores = scores.masked_fill(~remains, 0)
        scores, order = scores.topk(min(self.max_detections, scores.shape[1]), dim=1)
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4)) * (scores > 0)[..., None]
        boxes = in_originals(boxes, outputs.sizes, original_sizes, clip=True)
        return DetectionPredictions(boxes, scores, labels.gather(1, order))

    def _own_places(self, outputs: DarknetOutputs) -> Tensor:
        """Return (B, N) bool, which boxes of ``decode`` stand in cells that do not begin in the padding."""
        found = []
        for maps in outputs.maps:
            shape = maps.shape[-2:]
            strides = outputs.size[0] / shape[0], outputs.size[1] / shape[1]
            cells, _ = own_cells(outputs.sizes, strides, shape)
            found.append(cells.flatten(1).repeat(1, maps.shape[1] // (5 + self.num_classes)))
        return torch.cat(found, dim=1)

    def _is_padded(self, height: int, width: int) -> bool:
        """Whether images are padded to multiples of ``stride``; the file's own size is taken as it is."""
        own = (self.plan.height, self.plan.width)
        if torch.compiler.is_compiling() and not any(side % self.stride for side in own):
            return True  # a size that is compared is no longer open; padding by 0 changes nothing
        return (height, width) != own

    def _check_size(self, size: Sequence[int]) -> None:
        """Refuse sizes at which maps that are joined would differ from one another."""
        if torch.compiler.is_compiling():  # sizes may be symbols; those that do not fit fail by themselves
            return
        height, width = int(size[0]), int(size[1])
        if (height, width) in self._sizes:
            return
        try:
            make_plan(self.sections, (height, width))
        except ConfigError as error:
            raise ConfigError(f"images of {height}x{width} pixels: {error}") from error
        self._sizes.add((height, width))


def _sections(cfg: str, num_classes: int, anchors: Sequence[float] | None) -> list[Section]:
    if cfg not in WIDTHS:
        if anchors is not None:
            raise ConfigError(f"anchors: cfg={cfg} has its own; change them there")
        if "." not in cfg and not is_there(cfg):
            known = ", ".join(WIDTHS)
            raise ConfigError(f"cfg={cfg}: neither a file nor one of {known}{closest(cfg, WIDTHS)}")
        return read_cfg(cfg)
    chosen = ANCHORS if anchors is None else tuple(anchors)
    if len(chosen) != len(ANCHORS):
        raise ConfigError(f"anchors: {len(chosen)} numbers; expected 12, width and height of six boxes")
    for side in chosen:
        check_range("anchors", side, above=0)
    return describe(cfg, num_classes, chosen)


def _stride(plan: CfgPlan) -> int:
    """Return the number that sides of images are multiples of: the least common one of the layers' strides."""
    found = 1
    for layer in plan.layers:
        for whole, side in ((plan.height, layer.shape[1]), (plan.width, layer.shape[2])):
            if whole % side == 0 and math.lcm(found, whole // side) <= MOST_STRIDE:
                found = math.lcm(found, whole // side)
    return found
