"""The random numbers of generated fields."""

from __future__ import annotations

import numpy as np

SPLITS = ("train", "val", "test")


def sample_random(seed: int, split: str, epoch: int, index: int) -> np.random.Generator:
    """Return the generator that decides the sample ``index`` of ``epoch``; the streams of all keys are independent."""
    return np.random.default_rng([seed, SPLITS.index(split), epoch, index])
