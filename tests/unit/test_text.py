"""Foreign text reaches no terminal raw: one function, and what prints through it."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lab.errors import ConfigError, DataError, LabError, RegistryError
from lab.report.tables import print_config, print_metrics, print_table
from lab.text import guard_streams, one_line, printable

HOSTILE = {
    "[/nope]": "[/nope]",
    "[bold]x": "[bold]x",
    "[link=file:///etc]x[/link]": "[link=file:///etc]x[/link]",
    "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
    "a\nb\rc\td": r"a\nb\rc\td",
    "\x9b31m\x7f\x00": r"\x9b31m\x7f\x00",
    "ab\u202eba\u2066": r"ab\u202eba\u2066",
    "\udcff": r"\udcff",
    "\ufeffx\u2028y": r"\ufeffx\u2028y",
    "naïve 数据 👩\u200d🔬": "naïve 数据 👩\u200d🔬",
    "C:\\x": "C:\\x",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_every_sign_that_a_terminal_acts_on_is_written_out(text: str) -> None:
    assert printable(text) == HOSTILE[text]
    assert printable(printable(text)) == printable(text)


def test_lines_are_kept_where_they_are_meant() -> None:
    assert printable("Traceback\n\tat \x1b[31m", keep_lines=True) == "Traceback\n\tat \\x1b[31m"
    assert one_line("  a \n  b\r\nc ") == "a b c"


@pytest.mark.parametrize("kind", [LabError, ConfigError, DataError, RegistryError])
def test_an_error_is_one_line_whatever_stands_in_it(kind: type[LabError]) -> None:
    text = str(kind("class '\x1b[2J' of\n  'x'"))
    assert text == r"class '\x1b[2J' of 'x'"


@pytest.mark.parametrize("text", HOSTILE)
def test_tables_show_any_name(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics({f"test/map_per_class/{text}": 0.5, "test/map": 0.25}, title=f"run {text}", protocol=text)
    print_table([{"name": text, text + "!": 1.0}, {"name": None, text + "!": None}], title=text)
    print_config({"data": {text: text, "nested": {text: [text]}}})
    out = capsys.readouterr().out
    assert HOSTILE[text].split()[0] in "".join(out.split("\n"))
    assert not [sign for sign in out if sign != "\n" and printable(sign) != sign]


def test_a_name_without_end_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"name": "x" * 100_000}], title="long")
    assert len(capsys.readouterr().out) < 10_000


def test_warnings_and_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    factory = logging.getLogRecordFactory()
    try:
        guard_streams()
        assert "\x1b" not in warnings.formatwarning("a\x1b[2J\nb", UserWarning, "x.py", 1, "")
        record = logging.getLogRecordFactory()("lab.data", 30, "x.py", 1, "%s; left out", ("\x1b[2J\n",), None)
        assert record.getMessage() == r"\x1b[2J\n; left out"
    finally:
        logging.setLogRecordFactory(factory)


def test_an_output_of_few_letters_does_not_stop_a_command(tmp_path: Path) -> None:
    """A terminal of plain ASCII, and a file name that is no text: both are escaped, neither is an error."""
    code = "import lab.text as t; t.guard_streams(); print('é 数 \\udcff', t.printable('\\x1b'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.stdout == "\\xe9 \\u6570 \\udcff \\x1b\n"
