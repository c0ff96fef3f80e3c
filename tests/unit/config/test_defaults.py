"""Defaults lists are read as Hydra reads them: the order of strength, ``_self_``, packages, other groups."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from lab.config.compose import Composed, config_dir
from lab.config.defaults import Default, option_content, option_files, read_defaults
from lab.config.group_files import options

Write = Callable[[str, str], Path]
BELOW = ("data", "optimizer", "scheduler", "strategy", "trainer", "callbacks", "eval", "logger")
SHIPPED = [(group, name) for group in BELOW for name in options(group, [config_dir()])]


def composed_by_hydra(folder: Path, group: str, option: str) -> Any:
    with warnings.catch_warnings(action="ignore"), initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_container(compose(f"{group}/{option}"), resolve=False)[group]


@pytest.mark.parametrize(("group", "option"), SHIPPED, ids=map("/".join, SHIPPED))
def test_a_shipped_option_holds_what_hydra_says(group: str, option: str) -> None:
    assert option_content(group, option, [config_dir()]) == composed_by_hydra(config_dir(), group, option)


FILES = {
    "base": "a: 1\nb: 1\nc: 1\nd: 1\ninside: {x: 1, y: 1}\n",
    "other": "b: 2\nc: 2\nd: 2\ninside: {y: 2, z: 2}\n",
    "self_last": "defaults: [base, other, _self_]\nc: 3\n",
    "self_between": "defaults: [base, _self_, other]\nc: 3\nd: 3\ne: 3\n",
    "self_first": "defaults: [_self_, base]\nc: 3\ne: 3\n",
    "self_not_said": "defaults: [base, other]\nc: 3\ninside: {z: 3}\n",
    "twice_deep": "defaults: [self_last]\nd: 4\ninside: {w: 4}\n",
    "from_root": "defaults: [/data/base@_here_, _self_]\nd: 5\n",
    "elsewhere": "defaults: [base@inside, _self_]\nd: 9\n",
    "missing_one": "defaults: [base, {optional parts: nowhere}, _self_]\nd: 6\n",
    "nothing_chosen": "defaults: [base, {parts: null}, _self_]\nd: 7\n",
    "empty": "",
    "no_list": "d: 8\n",
}


@pytest.mark.parametrize("option", FILES)
def test_an_order_is_what_hydra_makes_of_it(option: str, mine: Write) -> None:
    for name, text in FILES.items():
        folder = mine(f"data/{name}", text)
    expected = {} if option == "empty" else composed_by_hydra(folder, "data", option)
    if option == "elsewhere":
        expected.pop("inside")  # content of another package is none of the option's own
    assert option_content("data", option, [folder]) == expected


def test_each_kind_of_item(mine: Write) -> None:
    folder = mine(
        "model/all",
        "defaults:\n  - base\n  - other@elsewhere\n  - /optimizer/adamw@optimizer\n  - parts: [one, two]\n"
        "  - override /scheduler: poly\n  - optional override /eval: ranking\n  - /logger@_global_: null\n  - _self_\n"
        "  - 3\n",
    )
    assert read_defaults(folder / "model" / "all.yaml", "model") == [
        Default("model", "base"),
        Default("model", "other", package="elsewhere"),
        Default("optimizer", "adamw", package="optimizer"),
        Default("model/parts", "one"),
        Default("model/parts", "two"),
        Default("scheduler", "poly", override=True),
        Default("eval", "ranking", override=True, optional=True),
        Default("model", "_self_"),
    ]
    mine("model/base", "defaults: [all]\n")  # each builds on the other: Hydra refuses it, reading it ends
    files = option_files("model", "all", [folder])
    assert [file.stem for file in files] == ["all", "base"]


def test_what_stands_in_a_base_is_known_to_every_check(
    checked: Callable[..., Composed], refused: Callable[..., str], mine: Write
) -> None:
    mine("experiments/below", "# @package _global_\noptimizer:\n  lr: 0.5\ntrainer:\n  max_steps: 7\n")
    mine("experiments/weaker", "# @package _global_\ntrainer:\n  max_steps: 6\n")
    folder = mine("experiments/above", "# @package _global_\ndefaults: [weaker, below]\n")
    composed = checked("experiments=above", dirs=[folder], machine=False)
    assert composed.config["trainer"]["max_steps"] == 7
    assert composed.origin("trainer.max_steps") == "set in mine/experiments/below.yaml"  # the stronger of the two
    line = refused("experiments=above", "optimizer=sgd", dirs=[folder])
    assert line.startswith("optimizer=sgd: mine/experiments/below.yaml sets optimizer.lr for optimizer=detr_tiny")
