"""Write docs/zoo.md and docs/zoo.csv: every registered model with its size, cost, weights, parity and results.

    python scripts/zoo.py            # count what is new or has changed, and write both files
    python scripts/zoo.py --recount  # count all multiplications again (minutes)
    python scripts/zoo.py --check    # write nothing; exit code 1 if a file is out of date

``--check`` builds every network on the meta device for its parameters and takes the multiplications from zoo.csv. A
model that ``zoo_parts/inputs.py`` gives no input gets an image of 224 pixels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zoo_parts import counts, page

DOCS = Path(__file__).resolve().parent.parent / "docs"


def main(arguments: Sequence[str] | None = None, docs: Path = DOCS) -> int:
    """Run the command line.

    Args:
        arguments: of the command line; None: those of this process.
        docs: the folder of both files.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--check", action="store_true", help="write nothing, compare")
    chosen.add_argument("--recount", action="store_true", help="count all multiplications again")
    given = parser.parse_args(arguments)
    import lab

    known = counts.read(docs / "zoo.csv")
    rows = {}
    for name in lab.list_models():
        if given.check and not known.get(name):
            print(f"error: docs/zoo.csv has no {name}: run python scripts/zoo.py", file=sys.stderr)
            return 1
        rows[name] = counts.count(name, known, given.recount, given.check)
    texts = {"zoo.csv": counts.as_csv(rows), "zoo.md": page.render(rows)}
    if not given.check:
        for file, text in texts.items():
            (docs / file).write_text(text, encoding="utf-8")
        print(f"{len(rows)} models in {docs / 'zoo.md'}")
        return 0
    stale = [file for file, text in texts.items() if _text(docs / file) != text]
    for file in stale:
        print(f"error: docs/{file} is out of date: run python scripts/zoo.py", file=sys.stderr)
    return 1 if stale else 0


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
