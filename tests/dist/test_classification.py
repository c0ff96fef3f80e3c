"""A classifier trains and is measured alike on one rank and on two."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lab.loggers.metrics_file import read_metrics
from tests.dist import harness
from tests.distributed import run_distributed

COMMAND = (
    "model=resnet18",
    "model.net.norm=group_norm",  # statistics of a batch would be those of a rank's part
    "eval.label_smoothing=0.1",
    "data.augmentation.policy=rand_augment",
    "data.augmentation.erase=0.5",
    "data.augmentation.mixup=0.4",
    "data.augmentation.cutmix=1.0",
    "optimizer=sgd",
    "optimizer.lr=0.05",
    "trainer.precision=64",
    "trainer.max_steps=4",
    "trainer.val_every_n_steps=4",
    "data.num_val=21",  # batches of 4 on two ranks: the last round leaves nothing for the second
    "data.num_test=13",
)
PARTS = ("strategy=ddp", "trainer.accumulate_grad_batches=2", "data.num_workers=1")


def on_two(rank: int, folder: str) -> Path:
    return harness.fit((*COMMAND, *PARTS), Path(folder), rank, 2)


def test_the_command_on_two_ranks(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    both = run_distributed(on_two, 2, (str(tmp_path_factory.mktemp("ranks")),), timeout=240)[0]
    one = harness.fit(COMMAND, tmp_path)
    losses = harness.losses(one)
    assert len(losses) == 4
    assert harness.worst_relative(harness.losses(both), losses) < 1e-6  # they are logged in float32
    found = harness.weights(both)
    for key, value in harness.weights(one).items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-12)
    these, those = read_metrics(both)[-1], read_metrics(one)[-1]
    names = [key for key in those if key.startswith(("val/", "test/"))]
    assert {"val/loss", "val/top_1", "test/macro_f1", "test/ece"} <= set(names)
    for key in names:
        assert these[key] == pytest.approx(those[key], abs=1e-12), key
    assert {path.name for path in (both / "tables").iterdir()} == {"classes.csv", "confusion.csv"}
    for name in ("classes", "confusion"):
        assert (both / "tables" / f"{name}.csv").read_text() == (one / "tables" / f"{name}.csv").read_text()
