"""The script that measures what a start costs: its clock counts child processes, and it does not time what failed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lab.config.compose import compose_config
from scripts import measure_start as script

BUSY = "import sys, time\nwhile time.process_time() < 0.3: pass\nsys.exit({code})"


def test_processor_time_of_a_process() -> None:
    processor, wall = script.timed(["-c", BUSY.format(code=0)], 0)
    assert 0.3 <= processor < 3
    assert wall >= 0.25


def test_a_command_that_ends_otherwise_is_not_timed() -> None:
    with pytest.raises(SystemExit, match="exit code 3, expected 0"):
        script.timed(["-c", BUSY.format(code=3)], 0)


def test_the_table_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "commands", lambda words, folder: {"a start": (["-c", BUSY.format(code=2)], 2)})
    monkeypatch.setattr(script, "AGAIN", "print(0.125)")
    monkeypatch.setattr(sys, "argv", ["measure_start.py", "--rounds", "2", "--json", str(tmp_path / "start.json")])
    assert script.main() == 0
    seconds = json.loads((tmp_path / "start.json").read_text())["seconds"]
    assert len(seconds["a start"]["processor"]) == len(seconds["a start"]["wall"]) == 2
    assert seconds["one composition more"]["processor"] == [0.125, 0.125]
    shown = capsys.readouterr().out
    assert "a start" in shown
    assert "0.13" in shown or "0.12" in shown


def test_the_words_compose() -> None:
    (words,) = [
        words for words, _ in script.commands(["model=maskformer_tiny"], "runs").values() if "check=true" in words
    ]
    config = compose_config([word for word in words[1:] if word != "check=true"]).config
    assert (config["trainer"]["threads"], config["model"]["name"]) == (1, "maskformer_tiny")
