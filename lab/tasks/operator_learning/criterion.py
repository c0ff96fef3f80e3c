"""The losses of operators on fields, and the weights of latitudes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

NAMES = {"relative_l2": "l2", "mse": "mse", "mae": "mae"}
"""How the term of each loss is called."""


def latitude_weights(latitudes: Sequence[float]) -> Tensor | None:
    """Return the weight of each row, (H, 1) float64 with mean 1: H cos(latitude) / sum cos, as in FourCastNet.

    FourCastNet has the formula with the latitudes of 720 rows from pole to pole; these are the true ones.

    Args:
        latitudes: (H) degrees north; empty: None is returned, all points weigh the same.
    """
    if not latitudes:
        return None
    cosines = [max(0.0, math.cos(math.radians(latitude))) for latitude in latitudes]
    total = math.fsum(cosines)
    return torch.tensor([len(cosines) * value / total for value in cosines], dtype=torch.float64)[:, None]


def step_loss(name: str, found: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the loss of one step as a sum over samples, () float32.

    Args:
        name: ``relative_l2``, ``mse`` or ``mae``.
        found: (B, C, *grid) predicted, normalised.
        truth: (B, C, *grid) likewise.
        weights: of the points, broadcast over the grid; None: all weigh the same.
    """
    apart, truth = (found.float() - truth.float()).flatten(1), truth.float()
    if weights is not None:
        scale = weights.to(truth).expand(truth.shape[1:]).flatten()
        if name == "mae":
            return (apart.abs() * scale).mean(1).sum()
        apart, truth = apart * scale.sqrt(), truth.flatten(1) * scale.sqrt()
    if name == "mae":
        return apart.abs().mean(1).sum()
    if name == "mse":
        return apart.square().mean(1).sum()
    # vector_norm has the gradient 0 at 0, where a square root has none.
    norms = torch.linalg.vector_norm(truth.flatten(1), dim=1)
    return (torch.linalg.vector_norm(apart, dim=1) / norms).sum()
