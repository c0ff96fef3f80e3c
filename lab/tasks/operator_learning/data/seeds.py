"""The random numbers of generated fields and of noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SPLITS = ("train", "val", "test")


def sample_random(seed: int, split: str, epoch: int, index: int) -> np.random.Generator:
    """Return the generator that decides the sample ``index`` of ``epoch``; the streams of all keys are independent."""
    return np.random.default_rng([seed, SPLITS.index(split), epoch, index])


def with_noise(state: Tensor, deviation: float, random: np.random.Generator) -> Tensor:
    """Return a state with a normal number of this deviation added at each point.

    A network that learns from such states takes noise away, and so keeps its own errors from growing in a rollout.
    """
    drawn = torch.from_numpy(random.standard_normal(tuple(state.shape), dtype=np.float32))
    return state + deviation * drawn
