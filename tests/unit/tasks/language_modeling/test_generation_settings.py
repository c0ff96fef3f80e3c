"""The group ``generation``: only this kind has it, its keys are checked, and it is not part of a run's name."""

from __future__ import annotations

import re

import pytest

from lab.config.checks import check_config
from lab.config.compose import Composed, compose_config
from lab.config.kinds import TaskSettings
from lab.errors import ConfigError
from lab.run_name import run_name
from lab.tasks.language_modeling.settings import SETTINGS


def checked(*words: str, settings: TaskSettings = SETTINGS) -> Composed:
    """Return a config of this kind, whatever its model is called."""
    composed = compose_config(["eval=language_modeling", *words])
    composed.config["model"]["task"] = "language_modeling"
    composed.config["data"]["tasks"] = ["language_modeling"]
    composed.config["model"]["asks"] = {}
    check_config(composed, lambda task: settings)
    return composed


def test_it_changes_no_name_and_other_kinds_do_not_have_it() -> None:
    plain, changed = checked(), checked("generation.max_new_tokens=5", "generation.stop=['.', 'The end']")
    assert changed.config["generation"]["max_new_tokens"] == 5
    assert changed.config["generation"]["stop"] == [".", "The end"]
    assert changed.config["generation"]["seed"] == plain.config["generation"]["seed"] == 0
    assert run_name(plain.config) == run_name(changed.config)
    assert run_name(plain.config) != run_name(checked("seed=1").config)
    assert "generation" not in compose_config([]).config


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "generation.max_new=5",
            "unknown key 'max_new' in generation (set on the command line); did you mean 'max_",
        ),
        ("+generation.tempo=1", "generation.tempo: unknown key 'tempo' in generation (set on the command line: +gener"),
        (
            "generation.temperature=0",
            "generation.temperature=0: should be above 0; generation.sample=false takes",
        ),
        ("generation.top_p=1.5", "generation.top_p=1.5: should be less than or equal to 1 (set on the command line: "),
        ("generation.max_new_tokens=0", "generation.max_new_tokens=0: should be greater than 0"),
        ("generation.stop=.", "generation.stop=.: should be a list such as [a,b]"),
        ("generation=greedy", "generation=greedy: no such generation; there are: default"),
    ],
)
def test_what_is_refused(word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        checked(word)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("word", ["generation.max_new_tokens=5", "generation=default"])
def test_typed_under_another_kind(word: str) -> None:
    said = f"{word}: only a config with eval=language_modeling has the group generation (set on the command line)"
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
        compose_config([word])


def test_added_to_another_kind() -> None:
    with pytest.raises(ConfigError, match=r"^generation: unknown key 'generation' in the config \(set on the command"):
        check_config(compose_config(["+generation.seed=1"]), lambda task: SETTINGS)


def test_a_kind_that_does_not_know_a_group_refuses_it() -> None:
    said = r"^generation \(.*\): a model for language_modeling has no group generation; leave it out$"
    with pytest.raises(ConfigError, match=said):
        checked(settings=TaskSettings(SETTINGS.eval, SETTINGS.asks))
