"""``scripts/make_demo.py``: what its terminal shows, and that a picture moves. The sweep itself is not run here."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PROGRAM = """
import time
from rich.console import Console
from rich.live import Live
from rich.table import Table
def table(step):
    found = Table("step", "metric"); found.add_row(str(step), f"{step / 10}"); return found
console = Console(force_terminal=True)
with Live(table(1), console=console, auto_refresh=False) as live:
    for step in (2, 3):
        live.update(table(step), refresh=True)
console.print("[bold]done[/bold]")
"""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("demo.terminal")


def test_a_command_is_recorded_and_its_screen_is_that_of_a_terminal(terminal: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "a.cast"
    assert terminal.record([sys.executable, "-c", PROGRAM], file, 60, 20, "python a.py") == 0
    events = terminal.read(file)
    assert '"command": "python a.py"' in file.read_text().splitlines()[0]
    lines = terminal.screen(text for _, text in events)
    assert "done" in lines[-2]
    shown = "\n".join(lines)
    assert "0.3" in shown
    assert "0.1" not in shown  # the first table was drawn over
    assert terminal.record([sys.executable, "-c", "raise SystemExit(3)"], file, 60, 20, "python b.py") == 3


def test_an_unknown_control_sequence_is_refused(terminal: ModuleType) -> None:
    assert terminal.screen(["a\r\nb\r\x1b[2K\x1b[1A\x1b[2Kc\n", "\x1b[31md"]) == ["c", "\x1b[31md"]
    with pytest.raises(ValueError, match=r"\\x1b\[5D"):
        terminal.screen(["a\x1b[5Db"])


@pytest.mark.usefixtures("terminal")
def test_pictures_become_a_gif_that_repeats(tmp_path: Path) -> None:
    pictures = importlib.import_module("demo.pictures")
    file = tmp_path / "a.gif"
    shots = [(Image.new("RGB", (40, 30), colour), 0.5 + place) for place, colour in enumerate(("red", "blue"))]
    pictures.animate(shots, file)
    with Image.open(file) as found:
        assert (found.n_frames, found.size, found.info["duration"], found.info["loop"]) == (2, (40, 30), 500, 0)
