"""docs/add-a-task.md shows the package of tests/extensions as it is; what it does from Python runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import ROOT, commands
from tests.extensions.test_tabular import MINE, WORDS

TEXT = ROOT / "docs" / "add-a-task.md"
PACKAGE = ROOT / "tests" / "extensions" / "tabular"
BLOCK = re.compile(r"^```(?:python|yaml)\n# (tabular/\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def shown() -> list[tuple[str, str]]:
    """Return the blocks that are cut out of files, each with the name of its file."""
    return BLOCK.findall(TEXT.read_text(encoding="utf-8"))


def pieces(block: str) -> Iterator[str]:
    """Yield what stands between the lines of three dots."""
    yield from (piece.strip("\n") for piece in re.split(r"^\.\.\.$", block, flags=re.MULTILINE) if piece.strip())


@pytest.mark.parametrize(("name", "block"), shown(), ids=lambda value: value if value.startswith("tabular/") else "")
def test_a_block_is_cut_out_of_its_file(name: str, block: str) -> None:
    rest = (PACKAGE.parent / name).read_text(encoding="utf-8")
    for piece in pieces(block):
        _, found, rest = rest.partition(f"\n{piece}\n")
        assert found, f"{name} has no lines as these, or not after those before them:\n{piece}"
        rest = "\n" + rest


def test_every_file_has_its_place() -> None:
    text = TEXT.read_text(encoding="utf-8")
    files = [path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*") if path.suffix in (".py", ".yaml")]
    assert len(files) > 10
    assert [str(path) for path in files if f"`{path}`" not in text] == []


def test_its_commands_are_those_of_the_package_s_test() -> None:
    lines = commands(TEXT)
    stages = [next((word for word in words if word.startswith("stage=")), "") for line in lines for words in line.words]
    assert stages == ["", "stage=test", "stage=predict", "", ""]
    for line in lines:
        (words,) = line.words
        assert words[words.index("--config-dir") + 1] == str(Path(MINE[1]).relative_to(PACKAGE.parent))
        if not any(word.startswith("ckpt=") for word in words):
            assert {"extensions=[tabular]", "experiments=line", "data.file=table.csv"} <= {*words} & {*WORDS}
