"""In what the trees of two networks differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lab.inspection.costs import Node


@dataclass(frozen=True)
class Difference:
    """A module that only one of two networks has, or that is another in the second one.

    Attributes:
        name: of the module.
        change: ``added`` and ``removed`` stand for all modules inside it too.
        left: how it is in the first network; "" if it is not there.
        right: in the second one.
    """

    name: str
    change: Literal["added", "removed", "changed"]
    left: str
    right: str


def differences(left: Node, right: Node) -> list[Difference]:
    """Return the modules that differ in class, in shapes of their own parameters and buffers, or of their outputs."""
    found: list[Difference] = []
    if (left.kind, left.shapes, left.outputs) != (right.kind, right.shapes, right.outputs):
        found.append(Difference(left.name, "changed", *_apart(left, right)))
    theirs = {child.name: child for child in right.children}
    for child in left.children:
        if child.name in theirs:
            found += differences(child, theirs.pop(child.name))
        else:
            found.append(Difference(child.name, "removed", _described(child), ""))
    return found + [Difference(child.name, "added", "", _described(child)) for child in theirs.values()]


def _apart(left: Node, right: Node) -> tuple[str, str]:
    """Return what differs between two modules of one name."""
    said: tuple[list[str], list[str]] = ([], [])
    for node, words in zip((left, right), said, strict=True):
        if left.kind != right.kind:
            words.append(node.kind)
        for key in dict.fromkeys([*left.shapes, *right.shapes]):
            if left.shapes.get(key) != right.shapes.get(key):
                words.append(f"{key} {_shape(node.shapes[key])}" if key in node.shapes else f"no {key}")
        if left.outputs != right.outputs:
            words.append(f"-> {' '.join(map(_shape, node.outputs)) or '-'}")
    return ", ".join(said[0]), ", ".join(said[1])


def _described(node: Node) -> str:
    return f"{node.kind}, {node.parameters:,} parameters"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"
