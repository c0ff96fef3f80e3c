"""A rig of cameras that look to all sides, for tests of detectors in 3-D."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rig(num_cameras: int = 6, num_frames: int = 2, size: tuple[int, int] = (96, 160), focal: float = 100.0) -> Tensor:
    """Return projections (B, N, 4, 4) of cameras 1.5 m above the origin; ``size`` is (height, width) in pixels."""
    height, width = size
    intrinsics = torch.tensor([[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    frames = []
    for frame in range(num_frames):
        matrices = []
        for index in range(num_cameras):
            angle = 2 * math.pi * (index + 0.1 * frame) / num_cameras
            sine, cosine = math.sin(angle), math.cos(angle)
            to_camera = torch.tensor(
                [[sine, -cosine, 0, 0.1], [0, 0, -1, 1.5], [cosine, sine, 0, -0.2], [0, 0, 0, 1.0]]
            )
            matrices.append(intrinsics @ to_camera)
        frames.append(torch.stack(matrices))
    return torch.stack(frames)
