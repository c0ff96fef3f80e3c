"""A training with kernels that were measured on this machine, and with PyTorch's alone."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import only_run

ROOT = Path(__file__).resolve().parents[2]
WORDS = (
    "model=resnet20",
    "data=shapes",
    "trainer=cpu",
    "logger=csv",
    "data.num_train=32",
    "data.num_val=8",
    "data.num_test=8",
    "data.batch_size=8",
    "data.image_size=64",
    "callbacks.pictures=0",
    "trainer.max_steps=4",
    "trainer.log_every_n_steps=1",
)


def run(folder: Path, kernels: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own: the variables are read once in a process."""
    own = {"LAB_KERNELS": kernels, "LAB_KERNELS_DIR": str(folder.parent / f"of {kernels}"), "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **own, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "run.py"), *WORDS]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def losses(folder: Path, kernels: str) -> list[float]:
    """Train and return the loss of each step; the table is kept beside ``folder``."""
    folder.mkdir()
    done = run(folder, kernels)
    assert done.returncode == 0, done.stderr
    with (only_run(folder) / "metrics.csv").open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_the_same_bits_again_and_hardly_other_results(tmp_path: Path) -> None:
    first = losses(tmp_path / "first", "measured")
    (table,) = (tmp_path / "of measured").glob("*.json")
    chosen = json.loads(table.read_text())["chosen"]
    assert any(name.startswith("conv2d weight gradient") for name in chosen)
    assert losses(tmp_path / "second", "measured") == first
    plain = losses(tmp_path / "third", "torch")
    assert len(plain) == 4
    assert first == pytest.approx(plain, rel=1e-3)
    assert not (tmp_path / "of torch").exists()
    refused = run(tmp_path, "fast")
    assert refused.returncode == 2
    assert "error: LAB_KERNELS=fast: it is one of measured, fixed, torch" in refused.stderr
