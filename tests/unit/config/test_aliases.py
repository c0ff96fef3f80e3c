"""Old names of keys and options: in words, in a user's YAMLs, in recorded configs; each is told once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.config import aliases
from lab.config.aliases import renamed_config, renamed_words
from lab.config.compose import compose_config
from lab.errors import ConfigError

Mine = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two keys and an option that have moved, as if the shipped YAMLs had been written with the new names."""
    monkeypatch.setattr(aliases, "KEYS", {"trainer.steps": "trainer.max_steps", "model.side": "model.asks.image_size"})
    monkeypatch.setattr(aliases, "OPTIONS", {("eval", "rank"): "recommendation"})
    aliases._tell.cache_clear()
    yield
    aliases._tell.cache_clear()


def test_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    words = [
        "trainer.steps=7",
        "+model.side=9",
        "~model.side",
        "eval=rank",
        "data.x=${model.side}",
        "model=detr",
        "a='",
    ]
    expected = ["trainer.max_steps=7", "+model.asks.image_size=9", "~model.asks.image_size", "eval=recommendation"]
    assert renamed_words(words) == [*expected, "data.x=${model.asks.image_size}", "model=detr", "a='"]
    assert renamed_words(words)[0] == expected[0]
    assert caplog.messages == [
        "trainer.steps is now trainer.max_steps: the old name still works",
        "model.side is now model.asks.image_size: the old name still works",
        "eval=rank is now eval=recommendation: the old name still works",
    ]


def test_a_longer_key_that_begins_alike_is_another() -> None:
    words = ["trainer.steps_more=1", "model.sides=1", "data.x=${model.sides}"]
    assert renamed_words(words) == words


def test_command_line() -> None:
    config = compose_config(["trainer.steps=7"]).config
    assert config["trainer"]["max_steps"] == 7
    assert "steps" not in config["trainer"]


def test_yaml_files_of_a_user(mine: Mine) -> None:
    mine("model/own", "defaults: [detr_tiny]\nside: 96\nname: own\n")
    mine("data/own", "defaults: [coco]\nimage_size: '${oc.select:model.side,800}'\nroot: /nowhere\n")
    folder = mine("experiments/own", "# @package _global_\ntrainer:\n  steps: 5\ndefaults:\n  - override /eval: rank\n")
    words = ["model=own", "data=own", "experiments=own"]
    composed = compose_config(words, [str(folder)])
    config = composed.config
    assert (config["model"]["asks"]["image_size"], config["data"]["image_size"]) == (96, 96)
    assert config["trainer"]["max_steps"] == 5
    assert config["eval"]["name"] == "recommendation"
    assert composed.origin("trainer.max_steps").endswith("experiments/own.yaml")
    assert compose_config([*words, "model.asks.image_size=64"], [str(folder)]).config["data"]["image_size"] == 64


def test_both_names_in_one_file(mine: Mine) -> None:
    folder = mine("experiments/own", "# @package _global_\ntrainer:\n  steps: 5\n  max_steps: 6\n")
    with pytest.raises(ConfigError, match=r"own\.yaml: trainer\.steps is now trainer\.max_steps, and both are set"):
        compose_config(["experiments=own"], [str(folder)])


def test_recorded_config() -> None:
    recorded = {"trainer": {"steps": 5}, "eval": {"name": "rank", "ks": [1]}, "model": {"net": {"side": 1}}}
    renamed = renamed_config(recorded)
    assert renamed == {
        "trainer": {"max_steps": 5},
        "eval": {"name": "recommendation", "ks": [1]},
        "model": {"net": {"side": 1}},
    }
    assert recorded["trainer"] == {"steps": 5}


def test_the_names_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model asks of its data stood beside its name; the group eval was called after the way to measure."""
    monkeypatch.undo()
    old = ["model=sasrec", "eval=ranking", "model.max_length=20", "model.num_negatives=3"]
    new = ["model=sasrec", "eval=recommendation", "model.asks.max_length=20", "model.asks.num_negatives=3"]
    config = compose_config(old).config
    assert config == compose_config(new).config
    assert (config["data"]["max_length"], config["model"]["net"]["max_length"]) == (20, 20)
    assert config["data"]["num_negatives"] == 3
    assert compose_config(["eval=none", "model.image_size=96", "data=voc"]).config["data"]["image_size"] == 96
    smoothed = compose_config(["model=resnet18", "eval.label_smoothing=0.1"]).config["model"]
    assert smoothed["learning"] == {"label_smoothing": 0.1}
    recorded = renamed_config({"eval": {"name": "classification", "loss": "cross_entropy"}, "model": {}})
    assert recorded == {"eval": {"name": "classification"}, "model": {"learning": {"loss": "cross_entropy"}}}
    other = {"eval": {"name": "own", "loss": 1}, "model": {}}
    assert renamed_config(other) == other
    both = ["model=sasrec", "model.max_length=10", "model.asks.max_length=20"]  # as recorded, then typed
    assert compose_config(both).config["data"]["max_length"] == 20
