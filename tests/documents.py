"""The commands that README and docs show, and what a test does with each.

Before a block of code with commands stands a comment that no reader sees::

    <!-- commands: composed -->                      words and targets are checked, as far as no file is needed
    <!-- commands: composed after model=sasrec -->   the same, after words that stand for a recorded run's
    <!-- commands: run with trainer.max_steps=2 -->  run, with these words after its own
    <!-- commands: left: needs a GPU -->             neither, for this reason
    <!-- commands: 1,3 composed; 2 run with seed=1; left: no commands of lab's -->

Numbers are lines with commands, counted from 1; what has no number is for all others. A block without commands needs
none. After a line ``# conf/data/mine.yaml``, or of another name of a YAML or Python file, stands that file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = ROOT / "docs" / "tutorials"
"""Pages whose commands build on each other: ``tests/cli/test_tutorials.py`` runs each page from top to bottom."""

_MARK = re.compile(r"<!-- commands: (.*?) -->", re.DOTALL)
_CLAUSE = re.compile(
    r"(?:(?P<numbers>\d+(?:,\d+)*) )?(?P<how>composed(?: after)?|run with|run|left:)(?: (?P<rest>.*))?"
)
_PROGRAMS = "python|pip|lab|torchrun|srun|mpirun|sbatch|pytest|pre-commit|codespell|cd|git|uv"
_COMMAND = re.compile(rf"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:(?:{_PROGRAMS})(?= |$)|\.ci/run)")
_FILE = re.compile(r"# ([\w./-]+\.(?:yaml|py))")


@dataclass(frozen=True)
class Shown:
    """A line with commands in a text.

    Attributes:
        text: the file.
        line: its number there.
        shown: the line as it stands.
        words: of each of lab's commands in it, what comes after ``run.py`` or ``lab``.
        how: ``run``, ``composed`` or ``left``.
        more: further words: before the own ones where it is composed, after them where it is run.
        reason: why it is left.
    """

    text: Path
    line: int
    shown: str
    words: tuple[tuple[str, ...], ...]
    how: str
    more: tuple[str, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.text.relative_to(ROOT)}:{self.line}: {self.shown}"


@dataclass(frozen=True)
class Block:
    """A block of code without its indentation, the number of its first line, and what the comment before it says."""

    line: int
    code: list[str]
    mark: str


def texts() -> list[Path]:
    """Return the texts whose commands are tested."""
    found = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "lab").rglob("*.md"),
    ]
    return sorted([*found, ROOT / "UPGRADING.md", ROOT / "experiments" / "README.md"])


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of code of a text, fenced or indented by four blanks."""
    lines, place, after = text.splitlines(), 0, 0
    while place < len(lines):
        if lines[place].startswith("```"):
            first = place + 1
            end = next(number for number in range(first, len(lines)) if lines[number].startswith("```"))
            code, following = lines[first:end], end + 1
        elif lines[place].startswith("    ") and not (place and lines[place - 1].strip()):
            first = following = place
            while following < len(lines) and (lines[following].startswith("    ") or not lines[following].strip()):
                following += 1
            code = [line.removeprefix("    ") for line in lines[first:following]]
        else:
            place += 1
            continue
        marks = [*_MARK.finditer(before := "\n".join(lines[after:place]))]
        stands_before = marks and not before[marks[-1].end() :].strip()
        yield Block(first + 1, code, " ".join(marks[-1][1].split()) if stands_before else "")
        place = after = following


def files(path: Path) -> dict[str, str]:
    """Return the files that a text shows whole: the names to their content."""
    found: dict[str, list[str]] = {}
    for block in blocks(path.read_text(encoding="utf-8")):
        into: list[str] = []
        for line in block.code:
            if name := _FILE.fullmatch(line):
                into = found.setdefault(name[1], [])
            else:
                into.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def commands(path: Path) -> list[Shown]:
    """Return the lines of a text that hold commands, with what a test does with each.

    Raises:
        ValueError: a line has no clause, or a clause no line; it says which.
    """
    found: list[Shown] = []
    for block in blocks(path.read_text(encoding="utf-8")):
        lines = [(block.line + place, line) for place, line in enumerate(block.code) if _COMMAND.match(line)]
        if not lines:
            continue
        where = f"{path.relative_to(ROOT)}:{block.line}"
        if not block.mark:
            raise ValueError(f"{where}: before this block of commands a comment <!-- commands: ... --> is missing")
        clauses = _clauses(block.mark, len(lines), where)
        for (number, line), (how, rest) in zip(lines, clauses, strict=True):
            words = tuple(_words(line))
            reason = rest if how == "left" else ""
            if how != "left" and not words:
                raise ValueError(f"{path.relative_to(ROOT)}:{number}: holds no command of lab's; say why it is left")
            found.append(Shown(path, number, line, words, how, () if reason else tuple(shlex.split(rest)), reason))
    return found


def all_commands() -> list[Shown]:
    """Return those of all texts but of one whose comments are wrong, which ``tests/docs/test_commands.py`` tells."""
    found: list[Shown] = []
    for path in texts():
        with suppress(ValueError):
            found += commands(path)
    return found


def _clauses(mark: str, count: int, where: str) -> list[tuple[str, str]]:
    """Return for each line what is done with it, and the clause's words or reason."""
    found: dict[int, tuple[str, str]] = {}
    others: tuple[str, str] | None = None
    for clause in mark.split("; "):
        parsed = _CLAUSE.fullmatch(clause)
        if parsed is None:
            raise ValueError(f"{where}: {clause!r} is not understood; see tests/documents.py")
        what = (parsed["how"].split()[0].rstrip(":"), parsed["rest"] or "")
        if parsed["numbers"] is None:
            others = what
        else:
            found |= dict.fromkeys(map(int, parsed["numbers"].split(",")), what)
    missing = [number for number in range(1, count + 1) if number not in found and others is None]
    if missing or not set(found) <= set(range(1, count + 1)):
        raise ValueError(f"{where}: {count} lines with commands, and the comment speaks of others: {mark}")
    return [found.get(number) or others or ("", "") for number in range(1, count + 1)]


def _words(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each of lab's commands in a line; an ellipsis stands for any words, and is dropped."""
    words = shlex.split(line, comments=True)
    ends = [place for place, word in enumerate(words) if word == "&&"] + [len(words)]
    for start, end in zip([0, *(place + 1 for place in ends)], ends, strict=False):
        own = words[start:end]
        if scripts := [place for place, word in enumerate(own) if Path(word).name == "run.py"]:
            own = own[scripts[0] + 1 :]
        elif own[:1] == ["lab"]:
            own = own[1:]
        else:
            continue
        yield tuple(word for word in own if word != "...")
