"""Nothing but the rooms knows the list of kinds of problem."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lab
from lab.training.spec import task_names

PACKAGE = Path(lab.__file__).parent
ROOMS = ("tasks", "models", "structures")
"""What may name kinds: their own rooms, what is made for one of them, the types by which they speak."""
ALSO = ("detector", "segmenter", "recommender")
"""What networks of a kind are called."""
ALLOWED = {
    "config/aliases.py": {"detection", "recommendation", "classification"},  # whose keys and options were renamed
    "data/images/coco_entries.py": {"segmentation"},  # a key of COCO's annotation files
    "data/images/masks.py": {"no segmentation"},  # the same
    "run_name.py": {"detection"},  # which got a key that runs of another kind have in their names
    "loggers/wandb_media.py": {"Audio"},  # a class of W&B
    "report/sounds.py": {'<audio controls src="data:audio/wav;base64,{}"></audio>'},  # an element of HTML
}
"""What stands elsewhere, and why."""


def words_of(tree: ast.Module) -> Iterator[str]:
    """Yield the names and the texts of a module, without docstrings and comments."""
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in texts:
                yield text
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.ImportFrom(module=module):
                yield module or ""
                yield from (alias.name for alias in node.names)
            case ast.Import():
                yield from (alias.name for alias in node.names)


def test_no_module_outside_of_the_rooms_names_a_kind() -> None:
    forms = (*task_names(), *ALSO)
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if place.parts[0] not in ROOMS:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            named = {word for word in words_of(tree) if any(form in word.lower() for form in forms)}
            found |= {str(place): named} if named else {}
    assert found == ALLOWED


@pytest.mark.parametrize(
    "text",
    [
        'x = "detection"',
        "from lab.tasks.detection import task",
        "class Detector: ...",
        "def f(segmenter=1): ...",
        "x.recommender",
        'f"a {x} of a recommender"',
    ],
)
def test_the_test_notices(text: str) -> None:
    assert any(form in word.lower() for word in words_of(ast.parse(text)) for form in (*task_names(), *ALSO))
