"""DETR3D against the same network with the published look-up of points: every query in every camera, then masked.

The look-up alone is a row too. The peer projects every point into every camera, samples all of them with
``grid_sample``, and multiplies what no camera sees by 0, as the authors' code does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from benchmarks.pairs import Made, Pair, Size, fill_norms, loss_of, worst
from torch import Tensor
from torch.nn import functional as F

from lab import create_model
from lab.models.detr3d.head import Detr3dHead
from lab.models.detr3d.sampling import Views
from lab.structures.detection3d import Detection3dTargets

NAMES = ("detr3d", "detr3d_tiny")
CAMERAS, CLASSES, BOXES = 6, 10, 20
RANGE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
QUERIES, CHANNELS, LEVELS = 900, 256, 4


@dataclass
class MaskedViews(Views):
    """The published look-up."""

    maps: Sequence[Tensor] = field(default=())

    @classmethod
    def of(
        cls, maps: Sequence[Tensor], projections: Tensor, point_range: Sequence[float], image_size: tuple[int, int]
    ) -> MaskedViews:
        """Prepare a batch."""
        views = Views.of(maps, projections, point_range, image_size)
        return cls((), views.sizes, views.matrices, maps)

    def sample(self, points: Tensor, weights: Tensor) -> Tensor:
        """Sample (B, Q, C) at all points in all cameras."""
        places, seen = self.project(points)
        frames, queries, cameras = seen.shape
        grid = ((places - 0.5) * 2).transpose(1, 2).reshape(frames * cameras, queries, 1, 2)
        sampled = torch.stack([F.grid_sample(level, grid, align_corners=False)[..., 0] for level in self.maps], -1)
        sampled = sampled.nan_to_num().unflatten(0, (frames, cameras)).permute(0, 2, 3, 1, 4)  # (B, C, Q, N, V)
        shares = (weights * seen[..., None])[:, None]
        return (sampled * shares).sum(-1).sum(-1).transpose(1, 2)


class MaskedHead(Detr3dHead):
    """The head with the published look-up."""

    views_type = MaskedViews


def rig(frames: int, size: Size) -> Tensor:
    """Return projections (B, 6, 4, 4) of cameras that look to all sides; each sees a fifth of the ground."""
    height, width = size
    focal = 0.62 * width
    intrinsics = torch.tensor([[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    found = []
    for index in range(CAMERAS):
        sine, cosine = (f(2 * math.pi * index / CAMERAS) for f in (math.sin, math.cos))
        rows = [[sine, -cosine, 0, 0], [0, 0, -1, 1.5], [cosine, sine, 0, 0], [0, 0, 0, 1.0]]
        found.append(intrinsics @ torch.tensor(rows))
    return torch.stack(found).expand(frames, -1, -1, -1)


def make_boxes(frames: int, device: torch.device) -> Detection3dTargets:
    """Return twenty boxes of each frame."""
    generator = torch.Generator().manual_seed(2)
    boxes = torch.rand(frames * BOXES, 9, generator=generator)
    boxes[:, :3] = boxes[:, :3] * torch.tensor([80.0, 80, 4]) - torch.tensor([40.0, 40, 3])
    boxes[:, 3:6] += 1
    labels = torch.randint(CLASSES, (len(boxes),), generator=generator)
    return Detection3dTargets(boxes, labels, (BOXES,) * frames).to(device)


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return lab's network and one with the same weights and the published look-up."""
    torch.manual_seed(0)
    rate = {} if name == "detr3d_tiny" else {"dropout": 0.1 if dropout else 0.0}
    nets: list[Any] = [create_model(name, num_classes=CLASSES, point_range=RANGE, **rate) for _ in range(2)]
    fill_norms(nets[0])
    nets[1].load_state_dict(nets[0].state_dict())
    nets[1].pts_bbox_head.__class__ = MaskedHead
    ours, peer = (net.to(device).train(training) for net in nets)
    images = torch.randn(batch, CAMERAS, 3, *size).to(device)
    projections, targets = rig(batch, size).to(device), make_boxes(batch, device)

    def outputs(net: Any) -> Tensor:
        found = net(images, projections)
        return torch.cat([found.all_logits[-1].flatten(), found.all_codes[-1].flatten()])

    return Pair(
        ours,
        lambda: outputs(ours),
        batch,
        lambda: loss_of(ours, ours(images, projections), targets),
        peer,
        lambda: outputs(peer),
        lambda: loss_of(peer, peer(images, projections), targets),
    )


def _lookups(batch: int, size: Size, device: torch.device, train: bool, layers: int) -> Made:
    """Time look-ups of 900 points on four levels of 256 channels of pictures of ``size``."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in (8, 16, 32, 64)]
    coarse = torch.randn(batch * CAMERAS, CHANNELS, *sizes[-1], generator=generator)
    maps = [F.interpolate(coarse, shape, mode="bilinear").to(device) for shape in sizes]
    points = torch.rand(batch, QUERIES, 3, generator=generator).to(device)
    weights = torch.rand(batch, QUERIES, CAMERAS, LEVELS, generator=generator).to(device)
    projections = rig(batch, size).to(device)

    def step(kind: type[Views], memory_format: torch.memory_format) -> Any:
        given = [level.contiguous(memory_format=memory_format).requires_grad_(train) for level in maps]
        places, shares = (value.clone().requires_grad_(train) for value in (points, weights))

        def run() -> Tensor:
            for value in (*given, places, shares):
                value.grad = None
            with torch.set_grad_enabled(train):
                views = kind.of(given, projections, RANGE, size)
                found = torch.stack([views.sample(places, shares) for _ in range(layers)])
            if train:
                found.square().sum().backward()
                assert given[0].grad is not None
                return given[0].grad
            return found

        return run

    ours, peer = step(Views, torch.channels_last), step(MaskedViews, torch.contiguous_format)
    return ours, peer, worst(ours(), peer())


def lookup_forward(batch: int, size: Size, device: torch.device) -> Made:
    """One layer, inference."""
    return _lookups(batch, size, device, train=False, layers=1)


def lookup_train(batch: int, size: Size, device: torch.device) -> Made:
    """The six layers of a step, forward and all gradients."""
    return _lookups(batch, size, device, train=True, layers=6)
