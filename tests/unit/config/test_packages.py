"""Several loggers at once, and the packages that they need."""

from __future__ import annotations

from typing import Any

import pytest

from lab.config.checks import check_config
from lab.config.compose import compose_config
from lab.errors import ConfigError
from lab.launch.kinds import settings_finder


def checked(*words: str) -> dict[str, Any]:
    composed = compose_config(words)
    check_config(composed, settings_finder(composed))
    return composed.config["logger"]


def test_loggers_are_chosen_one_or_several() -> None:
    assert checked("logger=tensorboard") == {"tensorboard": {}}
    several = checked("logger=[wandb,tensorboard,mlflow]", "logger.mlflow.experiment=mine", "logger.wandb.project=p")
    assert several.keys() == {"wandb", "tensorboard", "mlflow"}
    assert (several["mlflow"]["experiment"], several["wandb"]["project"]) == ("mine", "p")
    assert checked("logger=[csv,mlflow]").keys() == {"wandb", "mlflow"}


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("lab.config.packages.find_spec", lambda package: None)
    with pytest.raises(ConfigError) as error:
        checked(f"logger=[csv,{name}]")
    expected = f"logger.{name} (set on the command line: logger=[csv,{name}]): {name} is not installed; "
    assert str(error.value) == expected + "pip install 'lab[trackers]'"


def test_a_store_that_mlflow_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="s3:// is no store of MLflow; a folder or sqlite://"):
        checked("logger=mlflow", "logger.mlflow.tracking_uri=s3://bucket")
