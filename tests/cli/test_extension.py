"""A package and a folder of YAMLs outside of the repository add a model and a recipe, run from another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lab

ROOT = Path(__file__).resolve().parents[2]

NETWORK = '''
from __future__ import annotations

from collections.abc import Mapping

import torch
from lab.ops.boxes import box_cxcywh_to_xyxy
from lab.registry import register_model
from lab.structures import DetectionPredictions, DetectionTargets, Term
from torch import Tensor, nn


class MeanBox(nn.Module):
    """One box for each image, from its mean colour; learns where boxes are on average."""

    def __init__(self, num_classes: int, hidden: int = 8) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, num_classes + 4))

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        return self.net(images.mean((2, 3))).unsqueeze(1)

    def totals(self, targets: DetectionTargets) -> Mapping[str, float]:
        return {"images": float(len(targets.counts))}

    def loss(self, outputs: Tensor, targets: DetectionTargets) -> Mapping[str, Term]:
        center = (targets.boxes[:, :2] + targets.boxes[:, 2:]).mean() / targets.sizes.mean() / 2
        return {"center": Term((outputs[..., -4:-2].sigmoid() - center).abs().sum(), "images")}

    def predict(self, outputs: Tensor, original_sizes: Tensor) -> DetectionPredictions:
        scores, labels = outputs[..., :-4].softmax(-1).max(-1)
        scale = original_sizes.flip(1).repeat(1, 2)[:, None]
        return DetectionPredictions(box_cxcywh_to_xyxy(outputs[..., -4:].sigmoid()) * scale, scores, labels)


@register_model
def mean_box(**overrides: object) -> MeanBox:
    return MeanBox(**overrides)
'''
MODEL = """# @package _global_
model:
  task: detection
  pretrained: null
  net:
    _target_: mean_box
    hidden: 4
"""
RECIPE = """# @package _global_
defaults:
  - override /model: mean_box
  - override /logger: csv

trainer:
  max_steps: 50
"""


def write_package(folder: Path) -> None:
    files = {
        "my_pkg/__init__.py": "from my_pkg import network",
        "my_pkg/network.py": NETWORK,
        "mine/model/mean_box.yaml": MODEL,
        "mine/experiments/mine.yaml": RECIPE,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "run.py"), "--config-dir", "mine", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_a_package_outside_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path)
    words = ["experiments=mine", "extensions=[my_pkg]", "trainer=cpu", "debug=fast", "data.num_train=64"]
    words += ["data.num_val=8", "data.num_test=8", "data.batch_size=8", "callbacks.pictures=2"]
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("mean_box-shapes-")
    record = json.loads((folder / "run.json").read_text())
    assert record["state"] == "finished"
    assert "test/map_50" in record["result"]
    assert (folder / "checkpoints" / "best.ckpt" / "index.json").is_file()
    assert len((folder / "metrics.csv").read_text().splitlines()) >= 2

    of_run = ("stage=test", f"ckpt={folder / 'checkpoints' / 'best.ckpt'}")
    refused = run(tmp_path, *of_run)  # a run directory may be a stranger's
    assert refused.returncode == 2
    assert "add extensions=[my_pkg] if you trust them" in refused.stderr
    tested = run(tmp_path, *of_run, "extensions=[my_pkg]")
    assert tested.returncode == 0, tested.stdout[-2000:] + tested.stderr[-4000:]

    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_pkg", "my_pkg.network"):  # other tests have packages of this name too: this one is forgotten again
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    for _ in range(2):  # known while it is asked for, again too
        with pytest.raises(lab.CheckpointError, match="mean_box"):
            lab.load(folder)
        task = lab.load(folder, extensions=["my_pkg"])
    assert set(task.predict(np.zeros((8, 8, 3), np.uint8)).names) <= set(task.class_names)

    (tmp_path / "my_pkg" / "network.py").write_text(NETWORK.replace("hidden: int = 8", "hidden: int = 6"))
    changed = run(tmp_path, *words)
    assert changed.returncode == 2
    assert "the sources of lab or my_pkg have changed" in changed.stderr
    assert changed.stderr.count("\n") == 1


def test_its_mistakes_are_refused_from_its_source_text(tmp_path: Path) -> None:
    write_package(tmp_path)
    (tmp_path / "my_pkg" / "__init__.py").write_text("raise SystemExit('this package was imported')")
    for words, line in (
        (["model.net.hiden=3"], "model.net.hiden: mean_box takes no argument 'hiden' (set on the command line: "),
        (["model.net.hidden=x"], "model.net.hidden=x: mean_box takes int (set on the command line: "),
    ):
        done = run(tmp_path, "experiments=mine", "extensions=[my_pkg]", *words)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {line}")
        assert done.stderr.count("\n") == 1
    done = run(tmp_path, "experiments=mine")
    assert done.returncode == 2
    assert done.stderr.startswith("error: model.net._target_=mean_box: unknown model 'mean_box'")
