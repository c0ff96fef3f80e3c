"""The code of a box: ten numbers that the network predicts, and how they become boxes.

Wang et al., "DETR3D: 3D Object Detection from Multi-view Images via 3D-to-2D Queries", CoRL 2021. A code is (cx, cy,
log l, log w, cz, log h, sin yaw, cos yaw, vx, vy): the height of the centre is the fifth number, not the third. Its
order and angle are those of MMDetection3D from version 1.0 on, which are those of ``lab.structures.detection3d``;
``lab.models.detr3d.weights`` converts the weights of older versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from lab.checking import check_range
from lab.errors import ConfigError
from lab.ops.precision import full_precision
from lab.ranges import Len, Size
from lab.structures.detection3d import Detection3dPredictions

CODE_SIZE = 10
CENTER = (0, 1, 4)
"""Where a code has x, y and z of the centre."""
EPS = 1e-5
WIDER = (-10.0, -10.0, -5.0, 10.0, 10.0, 7.0)
"""By how much the published range of the found centres exceeds the range of the annotated boxes, metres."""


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Return the logit of ``x``; ``x`` and ``1 - x`` are at least 1e-5."""
    x = x.clamp(0, 1)
    return (x.clamp(min=EPS) / (1 - x).clamp(min=EPS)).log()


def encode(boxes: Tensor) -> Tensor:
    """Return the codes (..., 10) of boxes (..., 9) (x, y, z, l, w, h, yaw, vx, vy)."""
    x, y, z, length, width, height, yaw, vx, vy = boxes.unbind(-1)
    parts = (x, y, length.log(), width.log(), z, height.log(), yaw.sin(), yaw.cos(), vx, vy)
    return torch.stack(parts, -1)


def decode(codes: Tensor) -> Tensor:
    """Return the boxes (..., 9) of codes (..., 10)."""
    x, y, length, width, z, height, sine, cosine, vx, vy = codes.unbind(-1)
    parts = (x, y, z, length.exp(), width.exp(), height.exp(), torch.atan2(sine, cosine), vx, vy)
    return torch.stack(parts, -1)


def check_point_range(name: str, point_range: Sequence[float]) -> tuple[float, ...]:
    """Return a range of points as six floats.

    Raises:
        ConfigError: it is not (x0, y0, z0, x1, y1, z1) with the lower numbers first.
    """
    values = tuple(float(value) for value in point_range)
    if len(values) != 6 or not all(low < high for low, high in zip(values[:3], values[3:], strict=True)):
        raise ConfigError(
            f"{name}={list(point_range)}: expected [x0, y0, z0, x1, y1, z1] with x0 < x1, y0 < y1, z0 < z1"
        )
    return values


class BoxCoder(nn.Module):
    """Turns logits and codes into boxes, without suppression of overlapping ones.

    Args:
        point_range: (x0, y0, z0, x1, y1, z1) metres, which reference points and predicted centres lie in.
        post_center_range: the centres that are kept; None for ``point_range`` and 10 m on each side, 5 m below and 7 m
            above: the published numbers.
        max_num: the most boxes of a frame.

    Raises:
        ConfigError: a range is empty.
    """

    def __init__(
        self,
        point_range: Annotated[Sequence[float], Len(6, 6)],
        post_center_range: Annotated[Sequence[float], Len(6, 6)] | None = None,
        max_num: Size = 300,
    ) -> None:
        super().__init__()
        check_range("max_num", max_num, least=1)
        self.point_range = check_point_range("point_range", point_range)
        wider = [value + more for value, more in zip(self.point_range, WIDER, strict=True)]
        self.post_center_range = check_point_range("post_center_range", post_center_range or wider)
        self.max_num = max_num

    def to_metres(self, places: Tensor) -> Tensor:
        """Map places (..., 3) in 0..1 of the range to metres."""
        low, high = places.new_tensor(self.point_range).view(2, 3)
        return places * (high - low) + low

    def forward(self, logits: Tensor, codes: Tensor) -> Detection3dPredictions:
        """Return the pairs of query and class with the highest scores.

        Args:
            logits: (B, Q, K).
            codes: (B, Q, 10), centres in metres.
        """
        logits, codes = full_precision(logits), full_precision(codes)
        num_classes = logits.shape[2]
        scores, place = logits.sigmoid().flatten(1).topk(min(self.max_num, logits.shape[1] * num_classes), dim=1)
        query = place.div(num_classes, rounding_mode="floor")
        boxes = decode(codes.gather(1, query[..., None].expand(-1, -1, CODE_SIZE)))
        low, high = boxes.new_tensor(self.post_center_range).view(2, 3)
        inside = ((boxes[..., :3] >= low) & (boxes[..., :3] <= high)).all(-1)
        return Detection3dPredictions(boxes, scores * inside, place % num_classes)
