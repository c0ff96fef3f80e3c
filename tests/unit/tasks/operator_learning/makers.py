"""A tiny operator on fields, fields to measure it by, and settings of its task."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lab.registry import allow_package
from lab.structures.operator_learning import FieldBatch, FieldSpec, FieldTargets
from lab.tasks.operator_learning.task import OperatorLearningTask

allow_package("tests")

EVAL: dict[str, Any] = {"name": "operator_learning", "monitor": "relative_l2", "rmse": "pooled", "spectra": True}
OPTIMIZER: dict[str, Any] = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "no_decay_norm_bias": True, "groups": []}
OPTIMIZER |= {"momentum": 0.0, "nesterov": False}
SCHEDULER: dict[str, Any] = {"name": "constant", "warmup_steps": 0}


class Mixing(nn.Module):
    """Mixes the channels of each point.

    Args:
        image_size: the grid.
        in_channels: those that are read.
        out_channels: those that are given.
        factor: scales the output; 1e30 makes a rollout diverge.
        missing: so many channels too few, a mistake of a network.
    """

    def __init__(
        self, image_size: tuple[int, ...], in_channels: int, out_channels: int, factor: float = 1.0, missing: int = 0
    ) -> None:
        super().__init__()
        self.factor = factor
        numbers = torch.arange((out_channels - missing) * in_channels, dtype=torch.float32)
        self.weight = nn.Parameter(((numbers * 5) % 7 / 7 - 0.2).view(out_channels - missing, in_channels))

    def forward(self, fields: Tensor) -> Tensor:
        """Return (B, C_out, *grid)."""
        return torch.einsum("oi,bi...->bo...", self.weight, fields) * self.factor


def make_spec(**other: Any) -> FieldSpec:
    """Return a description of two channels on 4 x 6 points of a globe."""
    fields: dict[str, Any] = {
        "input_shape": (2, 4, 6),
        "channels": ("u", "t 2m"),
        "units": ("m/s", "K"),
        "means": (1.0, 280.0),
        "stds": (2.0, 10.0),
        "step": 6.0,
        "step_unit": "h",
        "latitudes": (90.0, 30.0, -30.0, -90.0),
        "longitudes": tuple(60.0 * number for number in range(6)),
        "periodic": (1,),
        "num_samples": 8,
    }
    return FieldSpec(**(fields | other))


def make_task(spec: FieldSpec | None = None, learning: dict[str, Any] | None = None, **other: Any) -> Any:
    """Return a task of the tiny operator; ``other`` are settings of the evaluation or arguments of the network."""
    net = {"_target_": "tests.unit.tasks.operator_learning.makers.Mixing"}
    net |= {key: value for key, value in other.items() if key not in EVAL}
    settings = EVAL | {key: value for key, value in other.items() if key in EVAL}
    plain = (spec or make_spec()).to_plain()
    return OperatorLearningTask(net, plain, OPTIMIZER, SCHEDULER, 3, settings, learning or {})


def make_batch(spec: FieldSpec | None = None, samples: int = 3, steps: int = 2, seed: int = 0) -> FieldBatch:
    """Return random fields, normalised, with forcings where the spec has some and a climatology where it evolves."""
    spec, random = spec or make_spec(), torch.Generator().manual_seed(seed)
    channels, grid = len(spec.channels), spec.grid
    reads = len(spec.given or spec.channels)
    return FieldBatch(
        fields=torch.randn(samples, reads, *grid, generator=random),
        targets=FieldTargets(torch.randn(samples, steps, channels, *grid, generator=random)),
        sample_ids=torch.arange(samples),
        valid=torch.ones(samples, dtype=torch.bool),
        forcings=torch.randn(samples, steps, len(spec.forcings), *grid, generator=random) if spec.forcings else None,
        climatology=torch.randn(samples, steps, channels, *grid, generator=random) * 0.3 if spec.evolves else None,
    )
