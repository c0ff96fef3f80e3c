"""Command line > recipe > model > group; another optimizer never runs on the first one's numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.config.compose import Composed

Check = Callable[..., Composed]
Refuse = Callable[..., str]
Write = Callable[[str, str], Path]

OPTIMIZER = "defaults:\n  - adamw\n\nlr: 0.5\n"
MODEL = """# @package _global_
defaults:
  - detr_tiny
  - override /optimizer: mine

trainer:
  max_steps: 11
  log_every_n_steps: 12
  val_every_n_steps: 13
"""
RECIPE = """# @package _global_
defaults:
  - override /model: mine
  - override /scheduler: poly

trainer:
  log_every_n_steps: 22
  val_every_n_steps: 23
"""


@pytest.fixture
def folder(mine: Write) -> Path:
    mine("optimizer/mine", OPTIMIZER)
    mine("model/mine", MODEL)
    return mine("experiments/mine", RECIPE)


def test_each_level_overrides_the_one_below(checked: Check, folder: Path) -> None:
    words = ("experiments=mine", "trainer.val_every_n_steps=33")
    composed = checked(*words, dirs=[folder])
    trainer = composed.config["trainer"]
    assert trainer["devices"] == 1  # the group
    assert trainer["max_steps"] == 11  # the model
    assert trainer["log_every_n_steps"] == 22  # the recipe
    assert trainer["val_every_n_steps"] == 33  # the command line
    assert composed.choices["scheduler"] == "poly"
    assert composed.config["model"]["name"] == "mine"
    assert composed.config["optimizer"]["lr"] == 0.5


def test_a_value_of_no_group_is_traced_past_a_word_for_its_neighbour(checked: Check, tmp_path: Path) -> None:
    composed = checked(f"paths.runs_dir={tmp_path}")
    assert composed.origin("paths.runs_dir") == f"set on the command line: paths.runs_dir={tmp_path}"
    assert composed.origin("paths.data_dir").endswith("conf/config.yaml")


def test_each_value_is_traced_to_where_it_was_set(checked: Check, folder: Path) -> None:
    composed = checked("experiments=mine", "trainer.val_every_n_steps=33", dirs=[folder])
    places = {
        "trainer.devices": "conf/trainer/auto.yaml",
        "trainer.max_steps": "mine/model/mine.yaml",
        "trainer.log_every_n_steps": "mine/experiments/mine.yaml",
        "trainer.val_every_n_steps": "set on the command line: trainer.val_every_n_steps=33",
        "optimizer.lr": "mine/optimizer/mine.yaml",
        "optimizer.eps": "conf/optimizer/adamw.yaml",
        "model.net.num_heads": "conf/model/detr_tiny.yaml",
        "seed": "conf/config.yaml",
    }
    for key, place in places.items():
        assert composed.origin(key).endswith(place), key


def test_the_command_line_chooses_over_the_recipe_and_the_model(checked: Check, folder: Path) -> None:
    composed = checked("experiments=mine", "optimizer=adam", "scheduler=step", "model=detr_tiny", dirs=[folder])
    assert composed.config["model"]["name"] == "detr_tiny"
    assert composed.config["optimizer"]["lr"] == 1e-4
    assert composed.config["scheduler"]["name"] == "step"


def test_the_order_of_the_words_does_not_matter(checked: Check, folder: Path) -> None:
    words = ["experiments=mine", "optimizer.lr=3", "trainer.max_steps=7"]
    assert checked(*words, dirs=[folder]).config == checked(*reversed(words), dirs=[folder]).config


@pytest.mark.parametrize("model", ["detr_tiny", "detr"])
def test_another_optimizer_has_its_own_rate(model: str, checked: Check) -> None:
    before = checked(f"model={model}").config["optimizer"]
    after = checked(f"model={model}", "optimizer=sgd").config["optimizer"]
    assert before["name"] == "adamw"
    assert (after["name"], after["lr"], after["momentum"]) == ("sgd", 1e-2, 0.9)
    assert after["groups"] == []
    assert after["weight_decay"] == 1e-4


def test_detr_is_set_as_published(checked: Check) -> None:
    config = checked("model=detr").config
    # Carion et al. 2020, appendix A.4: AdamW at 1e-4, backbone 1e-5, decay 1e-4, clipped at 0.1, a tenth after 200 of
    # 300 epochs; 118287 images of train2017 at batch 16 are 7392 steps an epoch.
    assert config["optimizer"]["lr"] == 1e-4
    assert config["optimizer"]["weight_decay"] == 1e-4
    assert config["optimizer"]["no_decay_norm_bias"] is False
    assert [group["lr"] for group in config["optimizer"]["groups"]] == [1e-5]
    assert config["scheduler"]["step_size"] == 200 * (118287 // 16)
    assert (config["trainer"]["max_epochs"], config["trainer"]["gradient_clip_val"]) == (300, 0.1)


def test_numbers_of_a_recipe_do_not_reach_another_optimizer(checked: Check, refused: Refuse, mine: Write) -> None:
    folder = mine("experiments/rate", "# @package _global_\noptimizer:\n  lr: 0.25\n")
    assert checked("experiments=rate", dirs=[folder]).config["optimizer"]["lr"] == 0.25
    line = refused("experiments=rate", "optimizer=sgd", dirs=[folder])
    assert "optimizer=sgd: mine/experiments/rate.yaml sets optimizer.lr for optimizer=detr_tiny" in line
    assert "give optimizer.lr too" in line
    given = checked("experiments=rate", "optimizer=sgd", "optimizer.lr=0.125", dirs=[folder]).config["optimizer"]
    assert (given["name"], given["lr"]) == ("sgd", 0.125)
    same = checked("experiments=rate", "optimizer=detr_tiny", dirs=[folder]).config["optimizer"]
    assert same["lr"] == 0.25


def test_texts_become_what_the_schema_says(checked: Check) -> None:
    config = checked("trainer.devices='1'", "trainer.precision=32", "optimizer.lr=1", "data.batch_size=1e2").config
    assert config["trainer"]["devices"] == 1
    assert config["trainer"]["precision"] == "32"
    assert type(config["optimizer"]["lr"]) is float
    assert config["data"]["batch_size"] == 100
    assert config == checked("trainer.precision='32'", "optimizer.lr=1.0", "data.batch_size=100").config


def test_arguments_that_the_yaml_does_not_list_can_be_given(checked: Check) -> None:
    config = checked("model=detr", "model.net.activation=gelu").config
    assert config["model"]["net"]["activation"] == "gelu"


def test_a_length_on_the_command_line_replaces_the_models(checked: Callable[..., Composed]) -> None:
    trainer = checked("model=detr", "trainer.max_steps=5000", machine=False).config["trainer"]
    assert (trainer["max_steps"], trainer["max_epochs"]) == (5000, None)
    trainer = checked("trainer.max_epochs=2", machine=False).config["trainer"]
    assert (trainer["max_steps"], trainer["max_epochs"]) == (None, 2)
