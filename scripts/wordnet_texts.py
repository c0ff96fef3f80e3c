"""Write the glosses of WordNet as a table of texts, one a row: the words of a synset, a colon, what they mean.

    python scripts/wordnet_texts.py /usr/share/wordnet data/wordnet/glosses.tsv

The folder has WordNet's database files ``data.adj``, ``data.adv``, ``data.verb`` and ``data.noun`` (wndb(5WN)), as
Debian's package ``wordnet-base`` installs them. ``data.files`` of language models reads the table
(``column_names=[text,label]``; every label is 0).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from lab.errors import DataError, LabError
from lab.system.files import write_text

PARTS = ("adj", "adv", "verb", "noun")


def glosses_of(path: Path) -> Iterator[str]:
    """Yield the text of each synset of a database file.

    Args:
        path: a ``data.*`` file. Its licence stands in lines that begin with two blanks.

    Raises:
        DataError: the file cannot be read, or a line is no synset.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}; Debian's package wordnet-base has it") from error
    for number, line in enumerate(lines, 1):
        if line.startswith("  "):
            continue
        synset, bar, gloss = line.partition(" | ")
        fields = synset.split()
        try:
            words = [fields[4 + 2 * word] for word in range(int(fields[3], 16))]
        except (IndexError, ValueError):
            words = []
        if not bar or not words:
            raise DataError(f"{path}, line {number}: it is no synset of WordNet: {line[:60]!r}")
        names = ", ".join(word.partition("(")[0].replace("_", " ").lower() for word in words)
        yield f"{names} : {gloss.strip()}".replace('"', "").replace("\t", " ")


def main() -> int:
    """Write the table and say how many texts and words it has."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="WordNet's database files")
    parser.add_argument("table", type=Path, help="the .tsv file to write")
    arguments = parser.parse_args()
    try:
        texts = [text for part in PARTS for text in glosses_of(arguments.folder / f"data.{part}")]
        arguments.table.parent.mkdir(parents=True, exist_ok=True)
        write_text(arguments.table, "".join(f"{text}\t0\n" for text in texts))
    except (LabError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(texts)} texts, {sum(len(text.split()) for text in texts)} words: {arguments.table}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
