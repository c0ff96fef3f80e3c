"""Detectors in 3-D are trained, measured and predicted alike on one rank and on two: colours, masks, five frames."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.data.datamodule import LoadPlan
from lab.strategies.build import make_strategy
from lab.strategies.collectives import sum_over_ranks
from lab.tasks.detection3d.data.frames import write_frames
from lab.tasks.detection3d.predict import Detection3dPredictor
from tests.dist.plain import fit, make_trainer, worst_loss
from tests.distributed import run_distributed
from tests.unit.tasks.detection3d.makers import FakeFramesModule, make_sample, make_task

STEPS = 4
LEARNING = {"grid_mask": {}, "photometric": {}}
Measured = tuple[list[float], dict[str, float]]


def trained(rank: int, ranks: int, folder: str) -> Measured:
    """Train, validate and predict the frames of a folder; return the losses and the metrics."""
    task, data = make_task(learning=LEARNING), FakeFramesModule(batch_size=4)
    data.plan = LoadPlan(STEPS, 0, 1, rank, ranks, task.totals)
    if ranks > 1:
        data.plan = replace(data.plan, reduce=lambda values: sum_over_ranks(values, 1))
    strategy = make_strategy({"name": "ddp"}) if ranks > 1 else None
    _, losses = fit(task, data, strategy, rank, ranks, steps=STEPS, validate=True)

    def trainer(callbacks: Sequence[Any], progress: bool = True) -> Any:
        strategy = make_strategy({"name": "ddp"}) if ranks > 1 else None
        return make_trainer(strategy, rank, ranks, callbacks=callbacks, inference_mode=False)

    results = dict(task.results)
    with redirect_stdout(io.StringIO()):
        Detection3dPredictor(folder, task, data).run(trainer, Path(folder) / f"out-{ranks}", rank)
    return losses, results


def on_two(rank: int, folder: str) -> Measured:
    """Do it on two ranks."""
    torch.set_num_threads(1)
    return trained(rank, 2, folder)


def test_two_ranks_do_what_one_does(tmp_path: Path) -> None:
    """Five frames to validate on, two a rank at a time: in the last round the second rank has none."""
    write_frames([make_sample(number) for number in range(3)], ("CAM_FRONT", "CAM_BACK"), tmp_path)
    losses, results = trained(0, 1, str(tmp_path))
    assert {"val/loss", "val/map", "val/nds", "val/mate"} <= set(results)
    for found, measured in run_distributed(on_two, args=(str(tmp_path),)):
        assert worst_loss(found, losses) < 1e-6  # worst seen: 1.5e-7
        assert measured == pytest.approx(results, abs=1e-5, nan_ok=True)
    found, alone = (json.loads((tmp_path / f"out-{ranks}" / "submission.json").read_text()) for ranks in (2, 1))
    assert list(found["results"]) == ["frame-0", "frame-1", "frame-2"]
    for token, boxes in alone["results"].items():
        assert [box["detection_name"] for box in found["results"][token]] == [box["detection_name"] for box in boxes]
