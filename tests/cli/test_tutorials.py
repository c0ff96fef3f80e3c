"""Each page of docs/tutorials is followed from top to bottom: its Python, its training and its prediction, tiny ones.

What costs seconds and is the same on each page (check=true, lab report) is run on one page; the others compose it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_python import BLOCK
from tests.documents import TUTORIALS, Shown, commands
from tests.runs import Runs, only_run

PAGES = sorted(path for path in TUTORIALS.glob("*.md") if path.name != "index.md")


def steps(page: Path) -> list[tuple[int, str | Shown]]:
    """Return the blocks of Python and the commands that are run, in their order, each with its line."""
    text = page.read_text(encoding="utf-8")
    found: list[tuple[int, str | Shown]] = [(shown.line, shown) for shown in commands(page) if shown.how == "run"]
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append((line, "\n" * line + match[1]))  # so that a traceback names the line of the page
    return sorted(found, key=lambda step: step[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_newcomer_can_follow(page: Path, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _, step in steps(page):
        name = only_run(tmp_path).name if (tmp_path / "runs").is_dir() else "NAME"
        if isinstance(step, str):
            exec(compile(step.replace("NAME", name), str(page), "exec"), {"__name__": "tutorial"})
            continue
        for words in step.words:
            command = runs.run(*(word.replace("NAME", name) for word in words), *step.more, folder=tmp_path)
            assert command.code == 0, f"{step}\n{command.out[-2000:]}{command.err}"
            assert "Traceback" not in command.err
    assert (only_run(tmp_path) / "predict-best").is_dir()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_all_have_the_same_steps(page: Path) -> None:
    headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings == ["Files", "Check", "Train", "Look", "Predict", "What to change next"]
