"""Values are taken as they are typed: what Hydra's grammar makes of a word, and the texts of environment variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lab.config.compose import Composed

Check = Callable[..., Composed]
TAKEN: list[tuple[str, str, Any]] = [
    ("trainer.max_steps=20", "trainer.max_steps", 20),
    ("trainer.max_steps=1e5", "trainer.max_steps", 100000),
    ("trainer.max_steps='20'", "trainer.max_steps", 20),
    ("seed=1e3", "seed", 1000),
    ("seed=1e3", "data.seed", 1000),
    ("optimizer.lr=1", "optimizer.lr", 1.0),
    ("optimizer.lr=1e-3", "optimizer.lr", 1e-3),
    ("optimizer.lr='1e-3'", "optimizer.lr", 1e-3),
    ("check=true", "check", True),
    ("check=TRUE", "check", True),
    ("check=False", "check", False),
    ("check='true'", "check", True),
    ("debug.limit_eval_batches=1", "debug.limit_eval_batches", 1),
    ("debug.limit_eval_batches=1.0", "debug.limit_eval_batches", 1.0),
    ("paths.runs_dir=2024", "paths.runs_dir", "2024"),
    ("logger.wandb.tags=[1,b]", "logger.wandb.tags", ["1", "b"]),
    ("trainer.precision=32", "trainer.precision", "32"),
    ("model.net.dropout=0", "model.net.dropout", 0),
]


@pytest.mark.parametrize(("word", "key", "value"), TAKEN)
def test_a_value_is_taken_as_it_is_typed(checked: Check, word: str, key: str, value: Any) -> None:
    found: Any = checked(word).config
    for part in key.split("."):
        found = found[part]
    assert (found, type(found)) == (value, type(value))


def test_environment_variables_give_numbers(checked: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPS", "30")
    monkeypatch.setenv("QUIET", "false")
    config = checked("trainer.max_steps=${oc.env:STEPS}", "callbacks.progress=${oc.env:QUIET}").config
    assert config["trainer"]["max_steps"] == 30
    assert config["callbacks"]["progress"] is False
