"""YOLO-FastestV2 by plain torch modules in the published layout and under the published names, with its published work.

The authors' code has no licence: this is written from facts about it, and nothing of it was taken. It does what they
do: every layer by itself, the shuffle as a copy, boxes and suppression image by image with a way through numpy, the
loss with fivefold copies of all boxes that boolean masks pick from, anchors in float64.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (16, 32)
ANCHORS = (12.64, 19.39, 37.88, 51.48, 55.71, 138.31, 126.91, 78.23, 131.57, 214.55, 279.92, 258.87)
"""Width and height in pixels of three boxes for stride 16, then of three for stride 32."""
NEIGHBOURS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
APART = 4096
"""Pixels between the boxes of two classes in suppression."""


def convolution(before: int, after: int, size: int = 1, stride: int = 1, alone: bool = False) -> list[nn.Module]:
    """Return a convolution and its norm; ``alone`` is depthwise."""
    groups = before if alone else 1
    return [nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(after)]


class PlainBlock(nn.Module):
    """A block that shuffles before its branches if its stride is 1."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        half, entry = width // 2, before if stride == 2 else width // 2
        main = [*convolution(entry, half), nn.ReLU(), *convolution(half, half, 3, stride, True)]
        self.branch_main = nn.Sequential(*main, *convolution(half, half), nn.ReLU())
        if stride == 2:
            deep = convolution(before, before, 3, 2, True)
            self.branch_proj = nn.Sequential(*deep, *convolution(before, half), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, width, H / stride, W / stride)."""
        if hasattr(self, "branch_proj"):
            return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
        batch, channels, height, width = x.shape
        turned = x.reshape(batch * channels // 2, 2, height * width).permute(1, 0, 2)
        aside, through = turned.reshape(2, batch, channels // 2, height, width)
        return torch.cat((aside, self.branch_main(through)), 1)


class PlainHead(nn.Module):
    """Two depthwise 5x5 convolutions, each before a 1x1 that ends linearly."""

    def __init__(self) -> None:
        super().__init__()
        twice = ([*convolution(72, 72, 5, 1, True), nn.ReLU(), *convolution(72, 72)] for _ in range(2))
        self.block = nn.Sequential(*itertools.chain(*twice))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 72, h, w) to the same shape."""
        found: Tensor = self.block(x)
        return found


class PlainYoloFastest(nn.Module):
    """The network: (B, 3, H, W) BGR from 0 to 1 to the six maps, box, objectness and class of stride 16, then of 32."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone: Any = nn.Module()
        self.fpn: Any = nn.Module()
        self.backbone.first_conv = nn.Sequential(*convolution(3, 24, 3, 2), nn.ReLU())
        self.backbone.maxpool = nn.MaxPool2d(3, 2, 1)
        for stage, (before, width, repeats) in enumerate(((24, 48, 4), (48, 96, 8), (96, 192, 4)), 2):
            blocks = [PlainBlock(before, width, 2), *(PlainBlock(width, width, 1) for _ in range(repeats - 1))]
            self.backbone.add_module(f"stage{stage}", nn.Sequential(*blocks))
        self.fpn.conv1x1_2 = nn.Sequential(*convolution(288, 72), nn.ReLU())
        self.fpn.conv1x1_3 = nn.Sequential(*convolution(192, 72), nn.ReLU())
        for name in ("cls_head_2", "reg_head_2", "cls_head_3", "reg_head_3"):
            self.fpn.add_module(name, PlainHead())
        self.output_reg_layers = nn.Conv2d(72, 12, 1)
        self.output_obj_layers = nn.Conv2d(72, 3, 1)
        self.output_cls_layers = nn.Conv2d(72, num_classes, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return (B, 12, h, w), (B, 3, h, w) and (B, K, h, w) of both strides."""
        body, fpn = self.backbone, self.fpn
        fine = body.stage3(body.stage2(body.maxpool(body.first_conv(x))))
        coarse = body.stage4(fine)
        x2 = fpn.conv1x1_2(torch.cat((F.interpolate(coarse, scale_factor=2), fine), 1))
        x3 = fpn.conv1x1_3(coarse)
        maps = []
        for x, reg_head, cls_head in ((x2, fpn.reg_head_2, fpn.cls_head_2), (x3, fpn.reg_head_3, fpn.cls_head_3)):
            reg, cls = reg_head(x), cls_head(x)
            maps += [self.output_reg_layers(reg), self.output_obj_layers(cls), self.output_cls_layers(cls)]
        return maps


def plain_rows(maps: list[Tensor]) -> Tensor:
    """Return (B, N, 5 + K): box (cx, cy, w, h) in pixels, objectness, classes; by map, row, column, anchor."""
    batch, found = len(maps[0]), []
    for scale, stride in enumerate(STRIDES):
        reg, obj, cls = maps[3 * scale : 3 * scale + 3]
        height, width = obj.shape[-2:]
        anchors = torch.tensor(ANCHORS[6 * scale : 6 * scale + 6]).view(3, 2)
        images = []
        for image in range(batch):
            boxes = reg[image].permute(1, 2, 0).reshape(height, width, 3, 4).sigmoid()
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            grid = torch.stack((columns, rows), dim=2)[:, :, None].repeat(1, 1, 3, 1).to(reg.device)
            boxes[..., :2] = (boxes[..., :2] * 2.0 - 0.5 + grid) * stride
            boxes[..., 2:] = (boxes[..., 2:] * 2.0) ** 2 * anchors.to(reg.device)
            objects = obj[image].permute(1, 2, 0).reshape(height, width, 3, 1).sigmoid()
            classes = cls[image].permute(1, 2, 0).softmax(-1)[:, :, None].repeat(1, 1, 3, 1)
            images.append(torch.cat((boxes, objects, classes), dim=-1).reshape(-1, 5 + cls.shape[1]).cpu().numpy())
        found.append(torch.stack([torch.from_numpy(image) for image in images]))
    return torch.cat(found, dim=1).to(maps[0].device)


def plain_suppressed(rows: Tensor, min_score: float, iou: float, most: int) -> list[Tensor]:
    """Return (Q, 6) of each image: xyxy, score and label, best first.

    Args:
        rows: of ``plain_rows``.
        min_score: of objectness, and of its product with the best class.
        iou: of boxes of one class that suppress each other.
        most: the most boxes of an image.
    """
    from torchvision.ops import nms

    found = []
    for x in rows:
        x = x[x[:, 4] > min_score]
        x[:, 5:] *= x[:, 4:5]
        centre, half = x[:, :2], x[:, 2:4] / 2
        score, label = x[:, 5:].max(1, keepdim=True)
        x = torch.cat((centre - half, centre + half, score, label.float()), 1)[score.view(-1) > min_score]
        x = x[x[:, 4].argsort(descending=True)]
        kept = nms(x[:, :4] + x[:, 5:6] * APART, x[:, 4], iou)
        found.append(x[kept[:most]].cpu())
    return found


def plain_loss(maps: list[Tensor], targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the terms of boxes, objectness and classes, weighted; those of boxes and classes are means over matches.

    Args:
        maps: of the network.
        targets: (T, 6): image, class, and centre and size relative to the image.
    """
    device = maps[0].device
    total_box, total_obj, total_cls = (torch.zeros(1, device=device) for _ in range(3))
    for scale, balance in enumerate((1.0, 0.4)):
        reg, obj, cls = maps[3 * scale : 3 * scale + 3]
        batch, _, height, width = reg.shape
        image, label, cell, anchor, boxes, sizes = _matched(targets, scale, height, width)
        row, column = cell[:, 1], cell[:, 0]
        wanted = torch.zeros_like(obj)
        if len(image):
            raw = reg.reshape(batch, 3, 4, height, width)[image, anchor, :, row, column].sigmoid()
            found = torch.cat((raw[:, :2] * 2.0 - 0.5, (raw[:, 2:] * 2) ** 2 * sizes), dim=1)
            total_box += (1.0 - _complete_iou(found, boxes)).mean().float()
            wanted[image, anchor, row, column] = 1.0
            total_cls += F.cross_entropy(cls[image, :, row, column], label) / cls.shape[1]
        total_obj += F.binary_cross_entropy_with_logits(obj, wanted) * balance
    return total_box * 3.2, total_obj * 64, total_cls * 32


def _matched(targets: Tensor, scale: int, height: int, width: int) -> tuple[Tensor, ...]:
    """Return image, class, cell (column, row), anchor, box in the cell and the anchor's size of every match."""
    device = targets.device
    sizes = torch.tensor(ANCHORS, dtype=torch.float64).view(2, 3, 2)[scale].to(device) / STRIDES[scale]
    gain = torch.ones(7, device=device)
    gain[2:6] = torch.tensor((width, height, width, height))
    numbers = torch.arange(3, device=device).float().view(3, 1).repeat(1, len(targets))
    rows = torch.cat((targets.repeat(3, 1, 1), numbers[:, :, None]), 2) * gain
    ratio = rows[:, :, 4:6] / sizes[:, None]
    rows = rows[torch.max(ratio, 1.0 / ratio).max(2)[0] < 2]
    centre = rows[:, 2:4]
    opposite = gain[[2, 3]] - centre
    left, above = ((centre % 1.0 < 0.5) & (centre > 1.0)).T
    right, below = ((opposite % 1.0 < 0.5) & (opposite > 1.0)).T
    chosen = torch.stack((torch.ones_like(left), left, above, right, below))
    rows = rows.repeat((5, 1, 1))[chosen]
    offsets = (torch.zeros_like(centre)[None] + torch.tensor(NEIGHBOURS, device=device)[:, None] * 0.5)[chosen]
    image, label = rows[:, :2].long().T
    anchor = rows[:, 6].long()
    cell = (rows[:, 2:4] - offsets).long()
    boxes = torch.cat((rows[:, 2:4] - cell, rows[:, 4:6]), 1)
    cell[:, 0].clamp_(0, width - 1)
    cell[:, 1].clamp_(0, height - 1)
    return image, label, cell, anchor, boxes, sizes[anchor]


def _complete_iou(found: Tensor, wanted: Tensor) -> Tensor:
    """Return CIoU of (T, 4) boxes (cx, cy, w, h); its weight of unlike shapes has no gradient."""
    (x1, y1, x2, y2), (left, top, right, bottom) = (
        torch.cat((box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2), 1).T for box in (found, wanted)
    )
    across = (torch.min(x2, right) - torch.max(x1, left)).clamp(0)
    shared = across * (torch.min(y2, bottom) - torch.max(y1, top)).clamp(0)
    w1, h1, w2, h2 = x2 - x1, y2 - y1 + 1e-9, right - left, bottom - top + 1e-9
    iou = shared / (w1 * h1 + w2 * h2 - shared + 1e-9)
    hull = (torch.max(x2, right) - torch.min(x1, left)) ** 2 + (torch.max(y2, bottom) - torch.min(y1, top)) ** 2 + 1e-9
    distance = ((left + right - x1 - x2) ** 2 + (top + bottom - y1 - y2) ** 2) / 4
    shape = (4 / math.pi**2) * (torch.atan(w2 / h2) - torch.atan(w1 / h1)) ** 2
    with torch.no_grad():
        weight = shape / (1 - iou + shape + 1e-9)
    return iou - (distance / hull + shape * weight)
