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
WORDS = {"an architecture": ["model=newnet"], "a dataset": ["data=mine"]}
FILES: Mapping[str, Mapping[str, str]] = {"an architecture": ARCHITECTURE, "a dataset": DATASET}

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
    for name, content in FILES[what].items():
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        assert not (house / name).exists()
        (house / name).write_text(content, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(house)}
    linter = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    for command in ([CHECK, *WORDS[what]], [linter, "--no-cache"]):
        done = subprocess.run(
            [sys.executable, "-c", *command], cwd=house, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9] kept, 0 broken", done.stdout)


def test_the_table_says_so() -> None:
    rows = table()
    for what, files in FILES.items():
        least, edited = rows[what][0], rows[what][1]
        assert least == str(len(files)), what
        assert edited == "0", what
