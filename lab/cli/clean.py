"""``lab clean DIR``: what of a folder of runs could be deleted; ``--yes`` deletes it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab.cli.arguments import Arguments
from lab.cli.output import unless_reader_left
from lab.errors import ConfigError
from lab.text import printable

if TYPE_CHECKING:
    from lab.report.records.cleaning import Deletable

_USAGE = """lab clean DIR [--yes] [--older-than 7d] [--keep WORD]

Lists what could be deleted of the runs that lie directly in a folder, with its size and the reason. With --yes it is
deleted:
  - unfinished runs that resume=never has set aside (NAME~1); of finished ones the checkpoints that only resuming needs
  - failed runs without a checkpoint
  - previous.ckpt of finished runs
  - sweeps of which no run is left
  - temporary files of killed processes
Never deleted: a run that a process uses, best.ckpt of a finished run, anything that is not a run's directory, and the
targets of links.

  DIR              paths.runs_dir
  --yes            delete
  --older-than AGE only what has not changed for this time: 12h, 7d, 2w
  --keep WORD      leave what has this word in its path; may be repeated"""


def run_clean(words: Sequence[str]) -> int:
    """Carry out ``lab clean ...`` and return its exit code: 1 if something could not be deleted.

    Args:
        words: what comes after ``clean``.

    Raises:
        LabError: the folder is none of runs.
    """
    arguments = Arguments("clean", _USAGE)
    arguments.flag("--yes", action="store_true")
    arguments.flag("--older-than", metavar="AGE")
    arguments.flag("--keep", action="append", default=[], metavar="WORD")
    read = arguments.read(words)
    if read is None:
        return 0
    options, rest = read
    if len(rest) != 1:
        raise ConfigError(f"lab clean takes one folder of runs, here are {len(rest)} (lab clean --help)")
    from lab.report.records.cleaning import find_deletable, older_than
    from lab.sweeps.membership import emptied_sweeps

    folder = Path(rest[0])
    before = time.time() - older_than(options.older_than) if options.older_than else None
    emptied = emptied_sweeps(folder)
    found = find_deletable(folder, emptied)
    kept = [item for item in found if any(word in str(item.path) for word in options.keep)]
    young = [item for item in found if item not in kept and before is not None and item.changed > before]
    chosen = [item for item in found if item not in kept and item not in young]
    with unless_reader_left():
        _print_items(chosen, folder)
        for items, why in ((kept, "kept by --keep"), (young, f"changed within the last {options.older_than}")):
            if items:
                print(f"{_things(len(items))} more {'is' if len(items) == 1 else 'are'} left: {why}")
        if not options.yes:
            if chosen:
                print("nothing is deleted yet: --yes deletes these")
            return 0
        return _delete(chosen, emptied)


def _print_items(items: Sequence[Deletable], folder: Path) -> None:
    from lab.report.records.cleaning import size_words

    if not items:
        print(f"nothing to delete in {printable(folder)}")
        return
    width = max(len(size_words(item.size)) for item in items)
    names = max(len(printable(item.path)) for item in items)
    for item in items:
        print(f"{size_words(item.size):>{width}}  {printable(item.path):<{names}}  {item.reason}")
    print(f"{size_words(sum(item.size for item in items)):>{width}}  in {_things(len(items))}")


def _delete(items: Sequence[Deletable], emptied: Sequence[Path]) -> int:
    from lab.report.records.cleaning import delete, size_words

    gone, left = [], 0
    for item in items:
        try:
            why = delete(item, emptied)
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            left += 1
            print(f"left      {printable(item.path)}: {printable(why)}", file=sys.stderr)
        else:
            gone.append(item)
    print(f"deleted   {_things(len(gone))}, {size_words(sum(item.size for item in gone))}")
    return int(left > 0)


def _things(count: int) -> str:
    return f"{count} thing" if count == 1 else f"{count} things"
