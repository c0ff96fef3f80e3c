"""Random numbers go on where they stood."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab.checkpoint.format import CheckpointReader
from lab.checkpoint.rng import rng_state, set_rng_state
from lab.checkpoint.writer import write_checkpoint


def test_random_numbers_go_on(tmp_path: Path) -> None:
    def draw() -> list[Any]:
        return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()]

    random.gauss(0, 1)  # leaves the second of its pair for the next call
    np.random.randn()
    write_checkpoint(tmp_path / "some.ckpt", {}, {"rng": rng_state()}, 0)
    expected = draw()
    for _ in range(3):
        draw()
    set_rng_state(CheckpointReader(tmp_path / "some.ckpt").state["rng"])
    assert draw() == expected
