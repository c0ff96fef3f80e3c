"""What W&B is told of a run: its config, where it comes from, and the command."""

from __future__ import annotations

import pytest

from lab.experiment.wandb_logger import _notes, shown_config


@pytest.mark.parametrize(
    ("command", "words", "expected"),
    [
        ("run.py model=detr seed=1", ["model=detr", "seed=1"], "run.py model=detr seed=1"),
        ("lab -m optimizer.lr=1e-3,1e-4", ["optimizer.lr=1e-4"], "lab optimizer.lr=1e-4"),
        ("lab -m data.root='a b','c d'", ["data.root=c d"], "lab 'data.root=c d'"),
        ("run.py", [], "run.py"),
    ],
)
def test_notes_are_a_command_that_repeats_the_run(command: str, words: list[str], expected: str) -> None:
    assert _notes({"command": command, "overrides": words}) == expected


def test_provenance_stands_beside_the_config() -> None:
    record = {"name": "detr-coco-0", "commit": "c0ffee", "sources": "5eed", "dataset": "f00d"}
    assert shown_config({"optimizer": {"lr": 0.1}}, record) == {
        "optimizer": {"lr": 0.1},
        "lab/run": "detr-coco-0",
        "lab/commit": "c0ffee",
        "lab/sources": "5eed",
        "lab/data_fingerprint": "f00d",
        "lab/world_size": 1,
    }
