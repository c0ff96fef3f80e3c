"""Kinds of problem are found by their rooms, registered by packages, and named in checkpoints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.training import spec as specs
from lab.training.spec import TaskSpec, register_task, task_names, task_spec
from lab.training.stored import kind_of


def test_the_rooms_are_the_kinds() -> None:
    rooms = {path.parent.name for path in Path(specs.__file__).parents[1].glob("tasks/*/task.py")}
    assert set(task_names()) == rooms
    for name in task_names():
        found = task_spec(name)
        assert found.load_task().kind == name
        assert found.load_data()().task == name
        assert issubclass(found.load_predictor(), object)
    assert task_spec("recommendation").load_pictures() is None
    assert callable(task_spec("detection").load_pictures())


def test_the_settings_name_what_the_data_decides() -> None:
    for name in task_names():
        found = task_spec(name)
        assert set(found.load_settings().from_data) == set(found.load_data()().net_arguments())


def test_naming_the_kinds_and_their_settings_imports_no_torch() -> None:
    code = "import sys; from lab.training.spec import task_names, task_spec; "
    code += "[task_spec(name).load_settings() for name in task_names()]; print(*task_names(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*task_names(), "False"]


def test_a_package_registers_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "_registered", {})
    mine = register_task(TaskSpec("counting", "collections:Counter", "mine:Spec", "mine:SETTINGS"))
    assert task_spec("counting") is register_task(mine)
    with pytest.raises(ConfigError, match="stage=predict: models for counting have no predictor that reads files"):
        mine.load_predictor()
    with pytest.raises(ConfigError, match="'counting' is registered twice: collections:Counter and other:Counter"):
        register_task(TaskSpec("counting", "other:Counter", "mine:Spec", "mine:SETTINGS"))
    with pytest.raises(ConfigError, match="'detection' is registered twice"):
        register_task(TaskSpec("detection", "mine:Task", "mine:Spec", "mine:SETTINGS"))
    with pytest.raises(ConfigError, match="no kind of problem 'countin'; did you mean 'counting'"):
        task_spec("countin")


def test_checkpoints_named_a_class_once() -> None:
    """tests/security/test_checkpoint_content.py loads one of each form."""
    assert [kind_of(name) for name in ("DetectionTask", "detection", "mine")] == ["detection", "detection", "mine"]
