"""Sound is trained, measured and predicted alike on one rank and on two: mixup, masks, one label and several."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.data.datamodule import LoadPlan
from lab.strategies.build import make_strategy
from lab.strategies.collectives import sum_over_ranks
from lab.tasks.audio.data.tones import KINDS, TonesModule
from lab.tasks.audio.predict import AudioPredictor
from tests.dist.plain import fit, make_trainer, worst_loss
from tests.distributed import run_distributed
from tests.unit.tasks.audio.makers import make_spec, make_task

STEPS = 6
LEARNING = {"mixup": 0.4, "spec_augment": {"frequency_width": 3, "time_width": 3}, "label_smoothing": 0.1}
Measured = tuple[list[float], dict[str, float]]


def trained(rank: int, ranks: int, most_sounds: int, folder: str) -> Measured:
    """Train, validate and predict the files of a folder; return the losses and the metrics."""
    spec = make_spec(class_names=KINDS, class_counts=(), multilabel=most_sounds > 1)
    task = make_task(spec, LEARNING, top_k=2)
    seconds = {"clip_seconds": 0.16, "example_seconds": 0.08, "example_hop_seconds": 0.08}
    sizes = {"num_train": 16, "num_val": 13, "batch_size": 8, "chunk_examples": 2}
    data = TonesModule(sample_rate=1000, most_sounds=most_sounds, **seconds, **sizes)
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
        AudioPredictor(folder, task, data).run(trainer, Path(folder) / f"out-{ranks}", rank)
    return losses, results


def on_two(rank: int, most_sounds: int, folder: str) -> Measured:
    """Do it on two ranks."""
    torch.set_num_threads(1)
    return trained(rank, 2, most_sounds, folder)


@pytest.mark.parametrize("most_sounds", [1, 3])
def test_two_ranks_do_what_one_does(tmp_path: Path, most_sounds: int) -> None:
    """Thirteen clips to validate on, four a rank at a time: in the last round the second rank has one."""
    soundfile = pytest.importorskip("soundfile")
    random = np.random.default_rng(0)
    for number, length in enumerate((50, 700, 300)):
        soundfile.write(tmp_path / f"{number}.wav", random.normal(size=length) / 8, 1000)
    losses, results = trained(0, 1, most_sounds, str(tmp_path))
    assert {"val/loss", "val/map" if most_sounds > 1 else "val/accuracy"} <= set(results)
    for found, measured in run_distributed(on_two, args=(most_sounds, str(tmp_path))):
        assert worst_loss(found, losses) < 1e-6  # worst seen: 1.1e-7
        assert measured == pytest.approx(results, abs=1e-5, nan_ok=True)
    found, alone = ((tmp_path / f"out-{ranks}" / "predictions.csv").read_text().splitlines() for ranks in (2, 1))
    assert [line.split(",")[:3] for line in found] == [line.split(",")[:3] for line in alone]
    assert len(alone) == 4
