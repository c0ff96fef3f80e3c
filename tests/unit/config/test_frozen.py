"""A config in Python: read like a dict or by attributes, never changed, printed as YAML; values written as words."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml

from lab.config.frozen import FrozenConfig
from lab.config.words import parse_word, words_of
from lab.errors import ConfigError

VALUES = {"optimizer": {"lr": 0.1, "betas": [0.9, 0.999]}, "seed": 0, "items": None, "extensions": []}


def test_it_is_read_in_three_ways() -> None:
    config = FrozenConfig(VALUES)
    assert config.optimizer.lr == config["optimizer"]["lr"] == config["optimizer.lr"] == 0.1
    assert config.optimizer.betas == (0.9, 0.999)
    assert config["items"] is None
    assert dict(config.items())["seed"] == 0
    assert config == VALUES
    assert config.optimizer == VALUES["optimizer"]
    assert config.get("optimizer.momentum") is None
    assert "optimizer" in dir(config)


def test_it_is_printed_as_yaml_and_copied() -> None:
    config = FrozenConfig(VALUES)
    assert yaml.safe_load(str(config)) == VALUES
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert twin == config
    plain = config.to_dict()
    plain["optimizer"]["lr"] = 7
    assert config.optimizer.lr == 0.1


def test_it_is_not_changed_and_names_the_nearest_key() -> None:
    config = FrozenConfig(VALUES)
    with pytest.raises(ConfigError, match=r"seed: a config is read-only; lab.compose\(config, seed=...\)"):
        config.seed = 1
    with pytest.raises(AttributeError, match="did you mean 'optimizer'"):
        _ = config.optimiser
    with pytest.raises(KeyError, match="did you mean 'lr'"):
        _ = config["optimizer.lrr"]
    assert not hasattr(config, "momentum")


@pytest.mark.parametrize(
    "text",
    [
        "a,b",
        "my run/best.ckpt",
        "Anna's photos",
        "a=b",
        "",
        "x/y (1)",
        "数据/ü",
        "a'b\"c",
        " lead",
        "[odd",
        "it's, {b}",
    ],
)
def test_a_text_is_written_so_that_it_reads_back(text: str) -> None:
    (word,) = words_of({"ckpt": text})
    assert parse_word(word).value == text


def test_values_are_written_as_words() -> None:
    given = {
        "model": "detr",
        "optimizer": {"lr": 1e-3, "betas": (0.9, np.float32(0.5))},
        "ckpt": Path("a b"),
        "data": {},
    }
    assert words_of(given) == ["model=detr", "optimizer.lr=0.001", "optimizer.betas=[0.9,0.5]", "ckpt=a b"]
    assert words_of({"check": True, "input": None, "seed": np.int64(3), "seeds": "1e3"}) == [
        "check=true",
        "input=null",
        "seed=3",
        "seeds=1e3",
    ]
    with pytest.raises(ConfigError, match="model: a value of the type object cannot be in a config"):
        words_of({"model": object()})
