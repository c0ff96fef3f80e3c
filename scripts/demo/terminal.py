"""A command in a terminal of its own: what it writes, when, and what stands on the screen at a time.

Recordings are asciinema's files (asciicast, version 2). The screen knows the few control sequences that rich's live
tables write; any other is an error, so that no picture shows what no terminal would.
"""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import re
import struct
import termios
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

Events = list[tuple[float, str]]
_CONTROL = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b\]8;[^\x1b\x07]*(?:\x1b\\|\x07)|([\r\n])")


def record(command: Sequence[str], file: Path, columns: int, rows: int, shown: str) -> int:
    """Run a command in a terminal, keep what it writes, and return its exit code.

    Args:
        command: program and arguments.
        file: where the recording goes.
        columns: width of the terminal.
        rows: its height.
        shown: the command as the recording says it.
    """
    child, master = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(columns), LINES=str(rows), COLORTERM="truecolor")
        os.execvp(command[0], list(command))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    began = time.monotonic()
    with file.open("w", encoding="utf-8") as target:
        print(json.dumps({"version": 2, "width": columns, "height": rows, "command": shown}), file=target)
        while written := _read(master):
            print(json.dumps([round(time.monotonic() - began, 3), "o", decode(written)]), file=target, flush=True)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says so where the last process has closed the terminal
        return b""


def read(file: Path) -> Events:
    """Return (seconds, text) of all that a recording has."""
    _, *lines = file.read_text(encoding="utf-8").splitlines()
    return [(float(seconds), str(text)) for seconds, kind, text in map(json.loads, lines) if kind == "o"]


def screen(texts: Iterable[str]) -> list[str]:
    """Return the lines that stand on a terminal after some texts; colours stay in them as escape sequences.

    Raises:
        ValueError: a control sequence that this terminal does not know.
    """
    lines, row, fresh = [""], 0, True
    text, place = "".join(texts), 0
    while place < len(text):
        found = _CONTROL.search(text, place)
        plain = text[place : found.start() if found else len(text)]
        if plain:
            lines[row] = plain if fresh else lines[row] + plain
            fresh = False
        if found is None:
            break
        place = found.end()
        numbers, letter, control = found.groups()
        if control == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
            fresh = False
        elif control == "\r":
            fresh = True
        elif letter == "A":
            row = max(0, row - int(numbers or 1))
        elif letter == "K":
            lines[row], fresh = "", False
        elif letter == "m":
            lines[row] = found[0] if fresh else lines[row] + found[0]
            fresh = False
        elif letter not in ("h", "l", None):
            raise ValueError(f"a terminal's control sequence that is not known here: {found[0]!r}")
    return lines
