"""DETR3D's network, loss and predictions on a small rig."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import lab
from lab.structures.detection3d import Detection3dTargets, Detector3d
from lab.training.terms import batch_terms

WIDTH, HEIGHT = 160, 96


def rig(num_cameras: int = 6, num_frames: int = 2) -> Tensor:
    """Return projections (B, N, 4, 4) of cameras that look to all sides, 1.5 m above the origin."""
    intrinsics = torch.tensor([[100.0, 0, 80, 0], [0, 100, 48, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    matrices = []
    for index in range(num_cameras):
        angle = 2 * math.pi * index / num_cameras
        sine, cosine = math.sin(angle), math.cos(angle)
        to_camera = torch.tensor([[sine, -cosine, 0, 0], [0, 0, -1, 1.5], [cosine, sine, 0, 0], [0, 0, 0, 1.0]])
        matrices.append(intrinsics @ to_camera)
    return torch.stack(matrices).expand(num_frames, -1, -1, -1)


def targets() -> Detection3dTargets:
    boxes = [
        [10, 0, 0, 4, 2, 1.5, 0.3, 1, 0],
        [5, 5, 0, 4, 2, 1.5, -2, math.nan, 0],
        [-8, 3, 0, 1, 1, 1.7, 0, 0, 0],
    ]
    return Detection3dTargets(torch.tensor(boxes), torch.tensor([0, 3, 8]), (2, 1))


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return lab.create_model("detr3d_tiny", num_classes=10)


def test_it_learns_two_frames(net: torch.nn.Module) -> None:
    assert isinstance(net, Detector3d)
    torch.manual_seed(1)
    images, projections, wanted = torch.randn(2, 6, 3, HEIGHT, WIDTH), rig(), targets()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    losses = []
    for _ in range(15):
        loss = torch.stack(list(batch_terms(net, net(images, projections), wanted).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        assert all(part.grad is not None for part in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    found = net.predict(net(images, projections))  # type: ignore[operator]
    assert found.boxes.shape == (2, 100, 9)
    assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()
