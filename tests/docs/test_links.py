"""What the project's texts point at is there: files and headings that are linked, paths and modules that are named.

Nothing is fetched: addresses of the web are only counted. ``.pre-commit-config.yaml`` runs this file too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEPT_OUT = {"runs", "data", "build", "dist"}
"""Folders at the top that hold no texts of the project, as .gitignore has them."""

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w.-]+(?:/[\w.*-]+)+/?|[\w-]+/")
MODULE = re.compile(r"[a-z_]+(?:\.\w+)+")
EXAMPLES = {"mynet", "my_pkg", "mine"}
"""Names that how-to texts give to what their reader writes."""

PACKAGES = {path.name for path in (ROOT / "lab").iterdir() if (path / "__init__.py").is_file()}
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in KEPT_OUT} - {".git"}
GROUPS = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
"""Dotted words that begin so are keys of the config."""
SUFFIXES = {"csv", "json", "md", "py", "yaml"}


def texts() -> list[Path]:
    """Return the Markdown files of the project."""
    found = [path for path in ROOT.rglob("*.md") if not any(part[0] == "." for part in path.relative_to(ROOT).parts)]
    found += (ROOT / ".github").rglob("*.md")
    return sorted(path for path in found if path.relative_to(ROOT).parts[0] not in KEPT_OUT)


def prose(path: Path) -> str:
    """Return a text without its blocks of code."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a text's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> Iterator[str]:
    """Yield the links of a text that lead nowhere."""
    for link in LINK.findall(prose(path)):
        file, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or not target.is_relative_to(ROOT):
            yield f"{link}: no such file"
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
            yield f"{link}: no such heading"


def unknown_places(path: Path) -> Iterator[str]:
    """Yield the paths and modules of the project that a text names and that do not exist."""
    for word in (word.split()[0] for word in CODE.findall(prose(path)) if word.strip()):
        if any(name in word for name in EXAMPLES) or "<" in word:
            continue
        if PATH.fullmatch(word):
            first = word.split("/")[0]
            bases = [path.parent, *([ROOT] if first in FOLDERS else []), *([ROOT / "lab"] if first in PACKAGES else [])]
            if len(bases) > 1 and not any(is_there(base, word) for base in bases):
                yield f"`{word}`: no such path"
        elif MODULE.fullmatch(word) and not is_module(word):
            yield f"`{word}`: no such module"


def is_there(base: Path, word: str) -> bool:
    return any(base.glob(word.rstrip("/"))) if "*" in word else (base / word).exists()


def is_module(word: str) -> bool:
    """Whether a dotted word is no module of lab's, or one that exists; after it may stand a name that it holds."""
    parts = word.removeprefix("lab.").split(".")
    if (
        (parts[0] not in PACKAGES and not word.startswith("lab."))
        or (parts[0] in GROUPS and not word.startswith("lab."))
        or parts[-1] in SUFFIXES
    ):
        return True
    place = ROOT / "lab"
    for part in parts:
        if not (place / part).is_dir():
            module = place / f"{part}.py"
            source = module if module.is_file() else place / "__init__.py"
            return module.is_file() or re.search(rf"\b{part}\b", source.read_text(encoding="utf-8")) is not None
        place /= part
    return True


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_text_points_at_is_there(path: Path) -> None:
    gone = path.name in ("CHANGELOG.md", "UPGRADING.md")  # these name what was
    assert [*broken_links(path), *([] if gone else unknown_places(path))] == []


def test_it_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = ROOT
    file = tmp_path / "a.md"
    file.write_text("# One, two\n[a](#one-two) [b](#three) [c](b.md) [d](a.md#one-two)\n\n    [e](in_code.md)\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert list(broken_links(file)) == ["#three: no such heading", "b.md: no such file"]
    monkeypatch.setitem(globals(), "ROOT", here)
    file.write_text("`lab/errors.py` `lab/nowhere.py` `tasks.stored` `training.stored` `lab.nowhere.X` `data.root`\n")
    assert list(unknown_places(file)) == [
        "`lab/nowhere.py`: no such path",
        "`tasks.stored`: no such module",
        "`lab.nowhere.X`: no such module",
    ]
