"""Reads the ``config.yaml`` of a run, which may be damaged or a stranger's. No torch.

What libyaml's parser says (its events) is checked first: how deep the nesting is, and how many aliases there are. So no
file exhausts the stack, and none becomes larger in memory than its text allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.system.files import read_regular

MOST = 2**20
"""Bytes of a config that are read."""
DEEPEST = 64
"""Levels of nesting."""
MOST_ALIASES = 16
"""``*name`` that stand for a part before: each may double what it stands in."""


class UnreadableConfig(ValueError):
    """A config cannot be read; why, in words that follow the name of the file."""


def read_recorded(file: Path) -> dict[str, Any]:
    """Return a config as plain dicts, lists and values.

    Args:
        file: ``config.yaml`` of a run's directory.

    Raises:
        UnreadableConfig: it is missing, damaged, no mapping, or larger or deeper than any config is.
    """
    import yaml

    text = read_text(file)
    for _ in events_of(text):
        pass
    try:
        content = yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnreadableConfig(f"cannot be read ({_one_line(error)})") from error
    if not isinstance(content, dict):
        raise UnreadableConfig("is not a mapping")
    return content


def read_text(file: Path) -> str:
    """Return the text of a config.

    Raises:
        UnreadableConfig: it is missing, no regular file, not UTF-8 or too large.
    """
    try:
        text = read_regular(file, MOST + 1).decode("utf-8")
    except FileNotFoundError:
        raise UnreadableConfig("is missing") from None
    except UnicodeDecodeError as error:
        raise UnreadableConfig(f"cannot be read ({_one_line(error)})") from error
    except OSError as error:
        raise UnreadableConfig(f"cannot be read ({error.strerror})") from error
    if len(text) > MOST:
        raise UnreadableConfig(f"is larger than {MOST // 1024} KiB")
    return text


def events_of(text: str) -> Iterator[Any]:
    """Yield the events of a YAML text as its parser finds them.

    Raises:
        UnreadableConfig: it is no YAML, or nested too deeply, or has too many aliases, or one that contains itself.
    """
    import yaml

    opened: list[str | None] = []
    aliases = 0
    try:
        for event in yaml.parse(text, Loader=_loader()):
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append(event.anchor)
                if len(opened) > DEEPEST:
                    raise UnreadableConfig(f"is nested deeper than {DEEPEST} levels")
            elif isinstance(event, yaml.CollectionEndEvent):
                opened.pop()
            elif isinstance(event, yaml.AliasEvent):
                aliases += 1
                if event.anchor in opened:
                    raise UnreadableConfig(f"contains itself (*{event.anchor})")
                if aliases > MOST_ALIASES:
                    raise UnreadableConfig(f"has more than {MOST_ALIASES} aliases")
            yield event
    except yaml.YAMLError as error:
        if "maximum nesting depth" in str(error):  # that of libyaml, as in PyYAML 6.0.4, which reads ahead
            raise UnreadableConfig(f"is nested deeper than {DEEPEST} levels") from error
        raise UnreadableConfig(f"cannot be read ({_one_line(error)})") from error


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
