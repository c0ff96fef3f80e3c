"""A classifier trains and is measured alike on one rank and on two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lab.loggers.metrics_file import read_metrics
from lab.tasks.classification.multilabel import MultilabelMetrics
from tests.dist import harness
from tests.distributed import run_distributed

COMMAND = (
    "model=resnet18",
    "model.net.norm=group_norm",  # statistics of a batch would be those of a rank's part
    "model.learning.label_smoothing=0.1",
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
STAGED = (
    *(word for word in COMMAND if not word.startswith(("model", "trainer."))),
    "model=vit_tiny_patch16_224",
    "trainer.precision=64",
    "trainer.max_steps=6",
    "trainer.val_every_n_steps=2",
    "callbacks.unfreeze={train: [head], stages: [{step: 1, train: [blocks.11]}, {step: 3, train: [patch_embed]}]}",
    "callbacks.early_stopping={patience: 1, min_delta: 1.0}",
    "callbacks.ema={decay: 0.5, start: 0}",
    "optimizer.layer_decay=0.5",
)
"""Stops at step 4: the second validation cannot be better by more than 1."""


def several_labels(part: slice) -> dict[str, float]:
    """Measure a part of 7 images of 3 labels, of which the second label is nowhere."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 3, generator=generator).mul(4).round() / 4
    labels = (torch.rand(7, 3, generator=generator) > 0.5).float() * torch.tensor([1.0, 0.0, 1.0])
    metrics = MultilabelMetrics(3)
    for rows in (slice(0, 3), slice(3, 7)):
        metrics.update(logits[part][rows], labels[part][rows])
    values, behind = metrics.compute()
    return values | {f"behind {place}": float(value) for place, value in enumerate(behind.flatten())}


def labels_on_two(rank: int, split: int) -> dict[str, float]:
    return several_labels(slice(0, split) if rank == 0 else slice(split, 7))


@pytest.mark.parametrize("split", [3, 7])  # the second rank has images in one of two rounds, and none at all
def test_metrics_of_several_labels_on_two_ranks(split: int) -> None:
    alone = several_labels(slice(0, 7))
    for found in run_distributed(labels_on_two, 2, (split,)):
        assert found == pytest.approx(alone, abs=0, nan_ok=True)  # to the bit


def on_two(rank: int, folder: str) -> tuple[Path, Path]:
    runs = [harness.fit((*words, *PARTS), Path(folder), rank, 2) for words in (COMMAND, STAGED)]
    return runs[0], runs[1]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The runs of two ranks."""
    found: tuple[Path, Path] = run_distributed(on_two, 2, (str(tmp_path_factory.mktemp("ranks")),))[0]
    return found


def test_fine_tuning_on_two_ranks(ranks: tuple[Path, Path], tmp_path: Path) -> None:
    """Staged unfreezing, decay of the rate along layers, early stopping and the average are those of one process."""
    both, one = ranks[1], harness.fit(STAGED, tmp_path)
    losses = harness.losses(one)
    assert len(losses) == 4
    assert harness.worst_relative(harness.losses(both), losses) < 1e-6
    for name in ("last.ckpt", "best.ckpt"):
        found = harness.weights(both, name)
        for key, value in harness.weights(one, name).items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-12)
    for run in (both, one):
        assert json.loads((run / "run.json").read_text())["stopped_early"]["step"] == 4


def test_the_command_on_two_ranks(ranks: tuple[Path, Path], tmp_path: Path) -> None:
    both, one = ranks[0], harness.fit(COMMAND, tmp_path)
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


CHECKPOINTED = (
    *(word for word in COMMAND if not word.startswith(("model.net.norm", "trainer."))),
    "model.net.frozen_stages=1",
    "trainer.max_steps=2",
    "trainer.val_every_n_steps=2",
)
"""A ResNet-18 with batch norm: on every rank its statistics are those of the rank's share of a batch."""


def on_two_with(rank: int, folder: str, words: tuple[str, ...]) -> Path:
    return harness.fit((*CHECKPOINTED, *words), Path(folder), rank, 2)


def test_activation_checkpointing_changes_nothing_under_ddp_and_fsdp(tmp_path_factory: pytest.TempPathFactory) -> None:
    def train(*words: str) -> Path:
        folder = str(tmp_path_factory.mktemp("ranks"))
        path: Path = run_distributed(on_two_with, 2, (folder, words))[0]
        return path

    plain = train("strategy=ddp")
    losses, expected = harness.losses(plain), harness.weights(plain)
    assert expected["net.bn1.num_batches_tracked"] == 0  # frozen
    assert expected["net.layer2.0.bn1.num_batches_tracked"] == 2
    for strategy in ("ddp", "fsdp"):
        other = train(f"strategy={strategy}", "model.net.with_cp=true")
        assert harness.worst_relative(harness.losses(other), losses) < 1e-6  # they are logged in float32
        found = harness.weights(other)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)
