"""MixMatch and pseudo-labels learn alike on one rank and on two: guesses, partners and interleaving cross ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lab.loggers.metrics_file import read_metrics
from tests.dist import harness
from tests.distributed import run_distributed
from tests.unit.tasks.classification.makers import make_mnist

COMMAND = (
    "data=idx",
    "model.net._target_=wide_resnet_tiny",
    "model.net.norm=group_norm",  # statistics of a batch would be those of a rank's part
    "callbacks.ema=null",
    "data.num_labels=8",
    "data.batch_size=8",
    "data.augmentation.shift=2",
    "trainer.precision=64",
    "trainer.max_steps=4",
    "trainer.val_every_n_steps=4",
)
UNUSED = ("data.num_train", "data.num_val", "data.num_test", "data.image_size", "data.max_side", "callbacks")
BASE = tuple(word for word in harness.SMALL if word.split("=")[0] not in UNUSED)


def on_two(rank: int, words: tuple[str, ...], folder: str) -> Path:
    return harness.fit((*COMMAND, *words, "strategy=ddp"), Path(folder), rank, 2, BASE)


@pytest.mark.parametrize("model", ["mixmatch", "pseudo_label"])
def test_the_command_on_two_ranks(model: str, tmp_path: Path) -> None:
    root = make_mnist(tmp_path / "mnist", num_train=60, side=8)
    words = (f"model={model}", f"data.root={root}", "model.learning.ramp_steps=2", "model.learning.lambda_u=5")
    if model == "pseudo_label":
        words = (*words, "model.learning.threshold=0.1")
    both = run_distributed(on_two, 2, (words, str(tmp_path / "two")))[0]
    one = harness.fit((*COMMAND, *words), tmp_path / "one", base=BASE)
    losses = harness.losses(one)
    assert len(losses) == 4
    assert harness.worst_relative(harness.losses(both), losses) < 1e-6  # they are logged in float32
    found = harness.weights(both)
    for key, value in harness.weights(one).items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-8)  # measured: 2e-10


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """To the bit: every draw is a function of the sample, the weight of the unlabelled one of the step."""
    root = make_mnist(tmp_path / "mnist", num_train=60, side=8)
    words = (
        *COMMAND,
        "model=mixmatch",
        f"data.root={root}",
        "model.learning.ramp_steps=4",
        "model.net.norm=batch_norm",
    )
    whole = harness.fit((*words, "trainer.val_every_n_steps=2"), tmp_path / "whole", base=BASE)
    half = harness.fit((*words, "trainer.val_every_n_steps=2", "trainer.max_steps=2"), tmp_path / "half", base=BASE)
    again = harness.fit((f"resume={half}", *words, "trainer.val_every_n_steps=2"), tmp_path / "half", base=BASE)
    assert again == half
    assert harness.losses(again) == harness.losses(whole)
    weights = [row.get("train/lambda_u") for row in read_metrics(whole / "metrics.csv")]
    assert [value for value in weights if value is not None] == [0, 18.75, 37.5, 56.25]
    found = harness.weights(again)
    for key, value in harness.weights(whole).items():
        assert torch.equal(found[key], value), key
