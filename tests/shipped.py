"""Every option of every shipped group, each composed once for all tests of a session."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.compose import Composed, compose_config, config_dir
from lab.config.defaults import option_content, read_defaults
from lab.config.group_files import SWEEP_GROUPS
from lab.launch.targets import check_all

GROUPS = [path for path in sorted(config_dir().iterdir()) if path.is_dir() and path.name not in SWEEP_GROUPS]
SWEEP_OPTIONS = [
    f"{name}={file.stem}" for name in SWEEP_GROUPS for file in sorted((config_dir() / name).glob("*.yaml"))
]
OPTIONS = [f"{group.name}={file.stem}" for group in GROUPS for file in sorted(group.glob("*.yaml"))]


@functools.cache
def composed(option: str) -> Composed:
    """Return the config with an option such as ``data=coco``, checked as far as no file is needed; read it only.

    Args:
        option: ``""`` for the config as it is.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LAB_DATA_DIR", "LAB_WEIGHTS_DIR"):
            patch.delenv(name, raising=False)
        found = compose_config([*model_for(option), option] if option else [])
        check_all(found, machine=False)
    return found


def model_for(option: str) -> list[str]:
    """The word that chooses a model of the task that a dataset, an evaluation or a kind's own group is for."""
    group, name = option.split("=")
    objective = None
    content = _content(config_dir() / group / f"{name}.yaml")
    if group == "eval":
        task = content["name"]
    elif group == "data":
        data = option_content("data", name, [config_dir()])
        task, objective = data["tasks"][0], data.get("objective")
    elif group == "scheduler":
        return ["trainer.max_steps=2000"]  # longer than any warm-up
    else:
        task = _evaluations_that_bring().get(group, "")
    if not task:
        return []
    for path in sorted((config_dir() / "model").glob("*.yaml")):
        model = _content(path).get("model") or {}
        if model.get("task") == task and objective in (None, model.get("asks", {}).get("objective")):
            return [f"model={path.stem}"]
    raise AssertionError(f"no model for {task}")


@functools.cache
def _content(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


@functools.cache
def _evaluations_that_bring() -> dict[str, str]:
    """Of each group that an option of eval names in its defaults that option."""
    paths = sorted((config_dir() / "eval").glob("*.yaml"), reverse=True)
    return {item.group: path.stem for path in paths for item in read_defaults(path, "eval")}
