"""``lab env``: what a report of a bug needs, and nothing private."""

from __future__ import annotations

import getpass
import json
import platform
import socket
from importlib import metadata
from pathlib import Path

import pytest

from lab.cli.main import main


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["env", *words]) == 0
    return capsys.readouterr().out


def test_it_prints_versions_and_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    rows = dict(line.split(maxsplit=1) for line in printed(capsys).splitlines())
    assert rows["python"] == platform.python_version()
    assert rows["torch"] == metadata.version("torch")
    assert " GiB" in rows["machine"]
    assert rows["lab"].count("sources ") == 1


def test_it_names_no_host_user_or_path(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "--json"))
    assert set(found["machine"]) == {"cpu", "cores", "memory_gib"}
    values = json.dumps([found["lab"], found["system"], found["versions"], found["optional"], found["machine"]["cpu"]])
    for private in (str(Path.home()), str(Path.cwd()), f'"{socket.gethostname()}"', f'"{getpass.getuser()}"'):
        assert private not in values


def test_packages_of_extras_are_listed_where_they_are_installed(capsys: pytest.CaptureFixture[str]) -> None:
    optional = json.loads(printed(capsys, "--json"))["optional"]
    assert "lab" not in optional
    assert "ruff" not in optional
    for name, version in optional.items():
        assert metadata.version(name) == version


@pytest.mark.parametrize(("word", "said"), [("--jsn", "did you mean '--json'?"), ("all", "lab env takes no words")])
def test_another_word_is_refused(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", word]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {word}: ")
    assert said in error
    assert error.count("\n") == 1
