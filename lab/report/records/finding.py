"""Which run a word names: a directory, a name below ``runs``, or a file of a run such as a checkpoint. No torch."""

from __future__ import annotations

from pathlib import Path

from lab.errors import RunError, closest
from lab.report.records.reading import is_run
from lab.system.files import is_there

HOME = Path("runs")
"""Where runs are named without their folder."""


def find_run(word: str) -> Path:
    """Return the directory of a run.

    Args:
        word: the directory, a path within it (``runs/NAME/checkpoints/best.ckpt``), a name below ``runs``, or the
            beginning of one that no other name has.

    Raises:
        RunError: there is no such run, or several.
    """
    given = Path(word)
    for place in (given, HOME / word):
        if is_there(place):
            for folder in (place, *place.parents[:2]):
                if folder.is_dir() and is_run(folder):
                    return folder
    names = [path.name for path in HOME.iterdir() if is_run(path)] if HOME.is_dir() else []
    found = [name for name in names if word and name.startswith(word)]
    if len(found) == 1:
        return HOME / found[0]
    if found:
        raise RunError(f"{word}: {len(found)} runs in {HOME} begin with this: {', '.join(sorted(found)[:5])}")
    if is_there(given):
        raise RunError(f"{word} is no run's directory, and no file of one{closest(given.name, names)}")
    raise RunError(f"{word}: there is no such run, here or in {HOME}{closest(given.name, names)}")
