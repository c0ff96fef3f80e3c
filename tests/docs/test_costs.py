"""What an addition costs, as docs/architecture.md counts it: made in a copy of the house, without an edit of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ARCHITECTURE = {
    "lab/models/newnet/__init__.py": '"""A new room."""\n',
    "lab/models/newnet/network.py": '''"""A network."""

from torch import nn

from lab.ranges import Size


class NewNet(nn.Module):
    """Says nothing yet."""

    def __init__(self, num_classes: int, width: Size = 8) -> None:
        super().__init__()
        self.head = nn.Linear(width, num_classes)
''',
    "lab/models/newnet/variants.py": '''"""Names."""

from typing import Any

from lab.models.newnet.network import NewNet
from lab.registry import register_model


@register_model
def newnet(**overrides: Any) -> NewNet:
    """A small one."""
    return NewNet(**overrides)
''',
    "conf/model/newnet.yaml": """# @package _global_
model:
  task: detection
  pretrained: null
  net:
    _target_: newnet
    width: 16
trainer:
  max_steps: 5
""",
}
DATASET = {
    "conf/data/mine.yaml": "defaults: [coco, _self_]\n\nroot: ${paths.data_dir}/mine\nhow_to_get: unpack mine.zip\n"
}
KIND = {
    "lab/structures/newkind.py": '''"""The language of a new kind."""

from dataclasses import dataclass
from typing import Any

from lab.structures.common import DataSpec


@dataclass(frozen=True)
class NewSpec(DataSpec):
    """What its data tells."""

    task: str = "newkind"
    num_classes: int = 2

    def net_arguments(self) -> dict[str, Any]:
        """Return what a network is told."""
        return {"num_classes": self.num_classes}
''',
    "lab/tasks/newkind/__init__.py": '"""A new room."""\n',
    "lab/tasks/newkind/spec.py": '''"""Registers the kind."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="newkind",
    task="lab.tasks.newkind.task:NewTask",
    data="lab.structures.newkind:NewSpec",
    settings="lab.tasks.newkind.settings:SETTINGS",
)
''',
    "lab/tasks/newkind/settings.py": '''"""How it is measured."""

from typing import Literal

from lab.config.kinds import EvalSettings, TaskSettings
from lab.config.value_types import Bool


class NewEval(EvalSettings):
    """One thing to choose."""

    name: Literal["newkind"]
    rounded: Bool


SETTINGS = TaskSettings(NewEval, from_data=("num_classes",))
''',
    "lab/tasks/newkind/task.py": '''"""Its LightningModule."""

from lab.training.task import Task


class NewTask(Task):
    """Says nothing yet."""
''',
    "lab/tasks/newkind/data/__init__.py": '"""Its data."""\n',
    "lab/tasks/newkind/data/module.py": '''"""Its DataModule."""

from lab.data.datamodule import DataModule
from lab.ranges import Size


class NewDataModule(DataModule):
    """Says nothing yet."""

    def __init__(self, batch_size: Size, num_rows: Size = 5) -> None:
        super().__init__(batch_size)
''',
    "conf/eval/newkind.yaml": "name: newkind\nrounded: false\n",
    "conf/data/newdata.yaml": """_target_: lab.tasks.newkind.data.module.NewDataModule
tasks: [newkind]
num_rows: 7
batch_size: 2
""",
}
OF_KIND = """defaults:
  - override /data: newdata
  - override /eval: newkind

model:
  task: newkind"""
"""What the YAML of an architecture of that kind says."""

FILES: Mapping[str, Mapping[str, str]] = {
    "an architecture": ARCHITECTURE,
    "a dataset": DATASET,
    "a kind of problem": KIND,
}
WORDS = {
    "an architecture": ["model=newnet"],
    "a dataset": ["data=mine"],
    "a kind of problem": ["model=newnet", "eval.rounded=true"],
}

CHECK = """
import sys
from lab.launch.prepare import prepare_job
prepared = prepare_job(sys.argv[1:], [], machine=False)
assert "torch" not in sys.modules
print(prepared.path)
"""


def table() -> dict[str, list[str]]:
    """Return the rows of the table in docs/architecture.md by their first cell."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    part = text[text.index("## What an addition costs") :]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows[2:]}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of what is imported and composed."""
    for name in ("lab", "conf", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("what", FILES)
def test_an_addition_is_files_alone(what: str, house: Path) -> None:
    files = dict(FILES[what])
    if what == "a kind of problem":  # to be asked for it needs a first architecture
        files |= {name: text.replace("model:\n  task: detection", OF_KIND) for name, text in ARCHITECTURE.items()}
    for name, content in files.items():
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        assert not (house / name).exists()
        (house / name).write_text(content, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(house)}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", *command], cwd=house, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(CHECK, *WORDS[what])
    pytest.importorskip("importlinter", reason="the floors are not checked: import-linter is one of the extras dev")
    linter = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    assert re.search(r"[1-9] kept, 0 broken", run(linter, "--no-cache"))


def test_the_table_says_so() -> None:
    rows = table()
    for what, files in FILES.items():
        least, edited = rows[what][0], rows[what][1]
        assert least == str(len(files)), what
        assert edited == "0", what
