"""``lab new project|model|data|task NAME``: writes files to begin with, which train and pass their tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from lab.cli.arguments import Arguments
from lab.errors import ConfigError, closest

_USAGE = """lab new project NAME [--kind KIND] [--dry-run]
lab new model|data NAME --kind KIND [--dry-run]
lab new task NAME [--dry-run]

Writes files that train and pass their tests as they are. Nothing is overwritten; all files are written, or none.

  project   ./NAME: a package of your own with a model, a dataset, a recipe, tests and a README
  model     a network, its YAML and its tests
  data      a loader with a generator of a small example, its YAML, its tests and a README
  task      a new kind of problem: data, network, metrics, predictions, a recipe and tests

Models, data and tasks are written into the project (or the checkout of lab) that the working directory lies in.

  --kind     the kind of problem:
{kinds}
  --dry-run  list the files and write nothing"""


def run_new(words: Sequence[str]) -> int:
    """Carry out ``lab new ...`` and return its exit code.

    Args:
        words: what comes after ``new``.

    Raises:
        LabError: a word, a name or a kind is refused, or a file exists.
        OSError: a file cannot be written.
    """
    from lab.scaffold.making import MAKERS

    arguments = Arguments("new", _USAGE.format(kinds=_kinds()))
    arguments.flag("--kind")
    arguments.flag("--dry-run", action="store_true")
    read = arguments.read(words)
    if read is None:
        return 0
    options, rest = read
    what = rest[0] if rest else ""
    if what not in MAKERS:
        asked = f"lab new {what}: there is no such thing to make{closest(what, MAKERS)}" if rest else "lab new what?"
        raise ConfigError(f"{asked}; there are {', '.join(MAKERS)} (lab new --help)")
    if len(rest) != 2:
        wrong = f"{' '.join(rest[2:])}: one name at a time" if rest[2:] else "the name is missing"
        raise ConfigError(f"lab new {what}: {wrong}: lab new {what} NAME")
    made = MAKERS[what](rest[1], options.kind, Path.cwd())
    from lab.scaffold.writing import check_new, write_new

    if options.dry_run:
        check_new(made.root, made.files)
    else:
        write_new(made.root, made.files)
    from lab.scaffold.showing import show

    show(made, options.dry_run)
    return 0


def _kinds() -> str:
    from lab.scaffold.rendering import kinds_of

    lines = [f"of {word}: {', '.join(kinds_of(word))}" for word in ("project", "model", "data")]
    return "\n".join(fill(line, 118, initial_indent=" " * 13, subsequent_indent=" " * 15) for line in lines)
