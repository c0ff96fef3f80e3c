"""``scripts/wordnet_texts.py``: WordNet's glosses as a table of texts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[4] / "scripts" / "wordnet_texts.py"
LICENCE = "  1 This software and database is being provided to you\n"
LINES = {
    "adj": '00001740 00 a 01 able(p) 0 001 ! 00002098 a 0101 | having the means; "able to swim"\n',
    "adv": "00002000 02 r 02 a_la_carte 0 by_the_menu 0 000 | each\tdish for itself  \n",
    "verb": "00001740 29 v 01 breathe 0 000 01 + 02 00 | draw air into, and expel out of, the lungs\n",
    "noun": "00001740 03 n 01 Entity 0 000 | that which is\n",
}


def run(folder: Path, table: Path) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command = [sys.executable, str(SCRIPT), str(folder), str(table)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write(folder: Path, **changed: str) -> None:
    """Write a database of one synset a part."""
    for part, line in (LINES | changed).items():
        (folder / f"data.{part}").write_text(LICENCE + line, encoding="utf-8")


def test_each_synset_is_a_row(tmp_path: Path) -> None:
    write(tmp_path)
    done = run(tmp_path, tmp_path / "out" / "glosses.tsv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("4 texts, 35 words")
    assert (tmp_path / "out" / "glosses.tsv").read_text(encoding="utf-8").splitlines() == [
        "able : having the means; able to swim\t0",
        "a la carte, by the menu : each dish for itself\t0",
        "breathe : draw air into, and expel out of, the lungs\t0",
        "entity : that which is\t0",
    ]


def test_what_is_no_database_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path / "glosses.tsv")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "data.adj: cannot be read: No such file" in done.stderr
    write(tmp_path, verb="not a synset\n")
    done = run(tmp_path, tmp_path / "glosses.tsv")
    assert done.returncode == 2
    assert "data.verb, line 2: it is no synset of WordNet: 'not a synset'" in done.stderr
    assert not (tmp_path / "glosses.tsv").exists()
