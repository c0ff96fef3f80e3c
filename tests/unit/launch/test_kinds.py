"""Kinds of problem of extensions are read from their source texts, under whatever name the module imports TaskSpec."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.launch.kinds import specs_in
from lab.training.spec import TaskSpec

TEXTS = "'counting', 'counting_kind.task:Task', 'counting_kind.data:Spec', 'counting_kind.settings:SETTINGS'"


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    for name, text in files.items():
        path = folder / "counting_kind" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.parametrize(
    "text",
    [
        f"from lab.training.spec import TaskSpec\nTASK = TaskSpec({TEXTS})\n",
        f"from lab.training.spec import TaskSpec as Kind, register_task\nregister_task(Kind({TEXTS}))\n",
        f"from lab.training import spec\nspec.register_task(spec.TaskSpec({TEXTS}))\n",
    ],
)
def test_a_kind_is_found(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_others = "class TaskSpec: ...\nOTHER = TaskSpec()\n"
    write(tmp_path, monkeypatch, __init__="raise SystemExit('imported')\n", kind=text, others=of_others)
    (spec,) = specs_in("counting_kind")
    assert isinstance(spec, TaskSpec)
    assert spec.name == "counting"
    assert "counting_kind" not in sys.modules


def test_arguments_are_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from lab.training.spec import TaskSpec\nNAME = 'counting'\nTASK = TaskSpec(NAME, 'a:b', 'c:d', 'e:f')\n"
    write(tmp_path, monkeypatch, __init__="", kind=text)
    with pytest.raises(ConfigError, match=r"kind\.py, line 3: TaskSpec takes name, task, .*each written out as a text"):
        list(specs_in("counting_kind"))
