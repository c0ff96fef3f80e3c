"""The words after a command: flags are read, mistakes are one line that names the nearest flag."""

from __future__ import annotations

import pytest

from lab.cli.arguments import Arguments
from lab.cli.commands import COMMANDS, help_lines
from lab.errors import ConfigError


def arguments() -> Arguments:
    found = Arguments("runs", "how it is used")
    found.flag("--limit", type=int)
    found.flag("--json", action="store_true")
    return found


def test_flags_and_words() -> None:
    read = arguments().read(["a", "--limit", "3", "b=-1", "--json"])
    assert read is not None
    options, rest = read
    assert (options.limit, options.json, rest) == (3, True, ["a", "b=-1"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--limit", "many"], "lab runs: argument --limit: invalid int value: 'many'"),
        (["--limit"], "lab runs: argument --limit: expected one argument"),
        (["--limt=3"], "--limt=3: lab runs has no such flag; did you mean '--limit'?"),
        (["-x"], "-x: lab runs has no such flag"),
    ],
)
def test_mistakes(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        arguments().read(words)
    assert str(error.value) == line


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments().read(["--help", "--limit", "3"]) is None
    assert capsys.readouterr().out == "how it is used\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_prints_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMANDS[name].run(["--help"]) == 0
    assert capsys.readouterr().out.startswith(f"lab {name} ")


def test_the_list_of_commands_fits_a_terminal() -> None:
    lines = help_lines()
    assert len(lines) == len(COMMANDS)
    assert max(map(len, lines)) <= 120
