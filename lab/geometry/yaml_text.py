"""YAML of scripts: plain values with the line of each, and texts that are read back equal.

Scalars are those of YAML 1.2's core schema (``1e-3`` is a number, ``no`` a text). Keys that stand twice, and texts
that would need unreasonable memory, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from lab.errors import GeometryError

MAX_CHARACTERS = 4_000_000
MAX_DEPTH = 60
MAX_VALUES = 200_000

_TAGS = {"str", "int", "float", "bool", "null", "timestamp", "value", "merge", "seq", "map"}
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_CHANGE = re.compile(r"(?P<path>[a-z]\w*(\.[a-z]\w*|\[\d{1,6}\])*)=(?P<value>.*)", re.DOTALL)
_PART = re.compile(r"\[\d+\]|\.?\w+")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass
class Document:
    """What a text says.

    Attributes:
        name: of the text.
        value: mappings, lists and scalars.
        lines: the line, from 1, of each value by the keys and indices that lead to it.
    """

    name: str
    value: Any = None
    lines: dict[tuple[str | int, ...], int] = field(default_factory=dict)

    def place(self, path: tuple[str | int, ...]) -> str:
        """Return ``name line 7`` for the value at a path, or what is nearest above it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.name} line {self.lines[path[:end]]}"
        return self.name

    def change(self, change: str) -> None:
        """Put another value at a path, as in ``steps[1].cylinder.radius=0.3``.

        Args:
            change: a path as errors write it, and a value in YAML. A key that is not there is added.

        Raises:
            GeometryError: there is no such place, or no value.
        """
        parsed = _CHANGE.fullmatch(change)
        if parsed is None:
            raise GeometryError(f"{change!r} is no change such as 'steps[1].cylinder.radius=0.3'")
        path = [int(part[1:-1]) if part[0] == "[" else part.lstrip(".") for part in _PART.findall(parsed["path"])]
        value = parse_yaml(parsed["value"], change).value
        inner = self.value
        for depth, part in enumerate(path):
            if isinstance(inner, list) and isinstance(part, int) and part < len(inner):
                inner[part] = {inner[part]: None} if isinstance(inner[part], str) else inner[part]
            elif not isinstance(inner, dict) or (isinstance(path[depth - 1], int) and depth and part not in inner):
                known = list(inner) if isinstance(inner, dict) else [f"[{place}]" for place in range(len(inner or ()))]
                raise GeometryError(f"{change}: there is no {part!r}; there are {', '.join(map(str, known))}")
            if depth == len(path) - 1:
                inner[part] = value
            elif isinstance(inner, dict) and inner.get(part) is None:
                inner[part] = {}
            inner = inner[part]


def parse_yaml(text: str, name: str) -> Document:
    """Return the values of a YAML text.

    Args:
        text: one document.
        name: what errors call it.

    Raises:
        GeometryError: it is no YAML, is too large or too deep, or has a key twice.
    """
    if len(text) > MAX_CHARACTERS:
        raise GeometryError(f"{name}: has {len(text)} characters; a script has at most {MAX_CHARACTERS}")
    document = Document(name)
    try:
        _refuse_deep(text, name)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise GeometryError(f"{name}: is no YAML: {error}") from error
    if node is not None:
        document.value = _value(node, (), document)
    return document


def _refuse_deep(text: str, name: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise GeometryError(f"{name}: is nested more than {MAX_DEPTH} deep")


def _value(node: yaml.Node, path: tuple[str | int, ...], document: Document) -> Any:
    line = node.start_mark.line + 1
    document.lines[path] = line
    if len(document.lines) > MAX_VALUES or len(path) > MAX_DEPTH:
        raise GeometryError(f"{document.name} line {line}: has too many values: {MAX_VALUES} are the most")
    if node.tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
        raise GeometryError(f"{document.name} line {line}: a script has no tags such as {node.tag!r}")
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _plain_scalar(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), document) for index, item in enumerate(node.value)]
    return dict(_items(node, path, document))


def _items(node: yaml.Node, path: tuple[str | int, ...], document: Document) -> Iterator[tuple[Any, Any]]:
    seen: set[str] = set()
    for key_node, item in node.value:
        place = f"{document.name} line {key_node.start_mark.line + 1}"
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode):
            raise GeometryError(f"{place}: a key is a word")
        if key in seen:
            raise GeometryError(f"{place}: {key!r} stands twice")
        seen.add(key)
        value = _value(item, (*path, key), document)
        document.lines[(*path, key)] = key_node.start_mark.line + 1
        yield key, value


def _plain_scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text) and len(text) < 100:
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        style = None if isinstance(_plain_scalar(data), str) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def dump_yaml(value: Any) -> str:
    """Return the text of mappings, lists and scalars; ``parse_yaml`` of it gives an equal value."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=118, allow_unicode=True
    )
    return text
