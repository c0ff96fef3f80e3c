"""Commands in README and docs: composed and checked here, run by ``tests/cli/test_documents.py``, or said why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.cli.main import main
from lab.launch.prepare import prepare_job
from lab.sweeps.grid import expand
from tests.documents import ROOT, TUTORIALS, Shown, all_commands, blocks, commands, files, texts

COMPOSED = [
    shown
    for shown in all_commands()
    if shown.how == "composed" or (shown.how == "run" and shown.text.parent != TUTORIALS)
]


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_has_its_place(path: Path) -> None:
    """None is silently left: ``commands`` raises where a block does not say what becomes of it."""
    assert all(shown.reason for shown in commands(path) if shown.how == "left")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, where no dataset is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAB_DATA_DIR", raising=False)
    return tmp_path


@pytest.mark.parametrize("shown", COMPOSED, ids=str)
def test_a_command_is_understood(shown: Shown, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = files(shown.text)
    for name, content in theirs.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content, encoding="utf-8")
        if name.endswith(".py"):
            (place / name).with_name("__init__.py").touch()
    for words in shown.words:
        if "--help" in words:
            assert main(words) == 0
            assert all(Path(name).stem in capsys.readouterr().out for name in theirs if name.startswith("conf/model/"))
            continue
        check(list(words), shown, place)


def check(words: list[str], shown: Shown, place: Path) -> None:
    """Compose and check the words as a command would; weights that they name are there."""
    folders = [words.pop(words.index("--config-dir") + 1)] if "--config-dir" in words else []
    own = [word for word in words if word not in ("-m", "--config-dir")]
    if not folders and (place / "conf").is_dir():
        folders = ["conf"]  # files that the text adds to lab's own
    before = list(shown.more) if shown.how == "composed" else []
    for word in own:
        key, _, value = word.partition("=")
        if key == "model.pretrained" and "." in value:
            Path(value.strip("'")).touch()
    jobs = expand([*before, *own], folders) if "-m" in words else [[*before, *own]]
    assert len(jobs) > 1 or "-m" not in words
    for job in jobs:
        assert prepare_job(job, folders, machine=False).config["model"]["task"]


TEXT = """a

<!-- commands: 2 run with b=1; left: c -->

    pip x
    python run.py a=1 ... # d && e

text
```
lab b=2 && python run.py "c='2'"
```
"""


def test_marks_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.documents.ROOT", tmp_path)
    path = tmp_path / "a.md"
    first, second = blocks(TEXT)
    assert (first.line, first.mark, second.mark) == (5, "2 run with b=1; left: c", "")
    path.write_text(TEXT.replace("text\n", "<!-- commands: composed after d=1 -->\n"))
    left, run, composed = commands(path)
    assert (left.how, left.reason, left.words) == ("left", "c", ())
    assert (run.how, run.more, run.words) == ("run", ("b=1",), (("a=1",),))
    assert (composed.how, composed.more, composed.words) == ("composed", ("d=1",), (("b=2",), ("c='2'",)))
    for wrong, part in (
        (TEXT, "a.md:10: before this block of commands"),
        (TEXT.replace("2 run", "3 run"), "2 lines with commands, and the comment speaks of others"),
        (TEXT.replace("left: c", "lefd: c"), "'lefd: c' is not understood"),
        (TEXT.replace("; left: c", "; composed"), "a.md:5: holds no command of lab's; say why it is left"),
    ):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=part):
            commands(path)
