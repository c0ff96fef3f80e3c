"""Reads darknet's ``.cfg``: sections of ``key=value``, the first is ``[net]``, each other one is a layer.

Lines that are empty or begin with ``#`` or ``;`` are comments, and blanks are dropped wherever they stand. What is not
known is refused by name with its line, because a key that is passed over may change what the network computes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.errors import ConfigError, closest

_NUMBER = re.compile(r"[-+.0-9eE]{1,100}")
_SETTING = re.compile("([^=]+)=(.+)")
_TRAINING = frozenset(
    {
        "batch",
        "subdivisions",
        "max_batches",
        "learning_rate",
        "momentum",
        "decay",
        "policy",
        "steps",
        "scales",
        "burn_in",
        "power",
        "gamma",
        "step",
        "scale",
        "angle",
        "saturation",
        "exposure",
        "hue",
        "aspect",
        "flip",
        "mosaic",
        "mixup",
        "cutmix",
        "letter_box",
        "adam",
        "B1",
        "B2",
        "eps",
        "max_crop",
        "min_crop",
        "max_ratio",
        "min_ratio",
        "random",
        "time_steps",
        "track",
        "inputs",
        "optimized_memory",
        "workspace_size_limit_MB",
    }
)
"""Keys of ``[net]`` that concern training only: kept, not used."""
_LOSS = frozenset(
    {
        "jitter",
        "ignore_thresh",
        "truth_thresh",
        "random",
        "resize",
        "iou_thresh",
        "cls_normalizer",
        "iou_normalizer",
        "obj_normalizer",
        "max_delta",
        "iou_loss",
        "iou_thresh_kind",
        "nms_kind",
        "beta_nms",
        "max",
        "label_smooth_eps",
        "counters_per_class",
        "focal_loss",
        "objectness_smooth",
        "max_boxes",
        "delta_normalizer",
        "show_details",
    }
)
"""Keys of ``[yolo]`` that concern training only; ``learning`` uses some of them."""
_KNOWN = {
    "net": _TRAINING | {"width", "height", "channels"},
    "convolutional": frozenset({"filters", "size", "stride", "pad", "padding", "groups", "batch_normalize"})
    | {"activation", "learning_rate", "stopbackward"},
    "shortcut": frozenset({"from", "activation"}),
    "route": frozenset({"layers", "groups", "group_id"}),
    "maxpool": frozenset({"size", "stride", "padding"}),
    "upsample": frozenset({"stride", "scale"}),
    "dropout": frozenset({"probability"}),
    "yolo": _LOSS | {"mask", "anchors", "classes", "num", "scale_x_y"},
}
ACTIVATIONS = ("linear", "leaky", "relu", "relu6", "logistic", "tanh", "elu", "swish", "mish")
MOST_BYTES = 1 << 20
"""A longer file is no ``.cfg``."""


@dataclass(frozen=True)
class Section:
    """A section as written.

    Attributes:
        kind: the word in brackets; ``[network]`` and ``[conv]`` are given by their other names.
        place: the file and the line of the section, for messages.
        values: its keys, as strings without blanks.
    """

    kind: str
    place: str
    values: dict[str, str]

    def fail(self, reason: str) -> ConfigError:
        """Return an error that names the section."""
        return ConfigError(f"{self.place}: [{self.kind}] {reason}")

    def _one(self, key: str, text: str, read: Callable[[str], float], low: float, high: float) -> float:
        try:
            value = read(text) if _NUMBER.fullmatch(text) else math.nan
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            kind = "an integer" if read is int else "a number"
            raise self.fail(f"{key}={text[:40]!r}: takes {kind} from {low:g} to {high:g}")
        return value

    def integer(self, key: str, default: int, low: int, high: int = 100_000) -> int:
        """Return the integer of a key."""
        return int(self._one(key, self.values.get(key, str(default)), int, low, high))

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """Return the number of a key."""
        return float(self._one(key, self.values.get(key, str(default)), float, low, high))

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """Return the list of integers of a key."""
        return tuple(int(self._one(key, text, int, low, high)) for text in self._parts(key))

    def numbers(self, key: str, low: float, high: float) -> tuple[float, ...]:
        """Return the list of numbers of a key."""
        return tuple(self._one(key, text, float, low, high) for text in self._parts(key))

    def word(self, key: str, default: str, known: tuple[str, ...]) -> str:
        """Return the word of a key."""
        value = self.values.get(key, default)
        if value not in known:
            raise self.fail(f"{key}={value[:40]}: takes one of {', '.join(known)}{closest(value, known)}")
        return value

    def _parts(self, key: str) -> list[str]:
        if key not in self.values:
            raise self.fail(f"has no {key}")
        return self.values[key].rstrip(",").split(",")


def read_cfg(path: str | Path) -> list[Section]:
    """Return the sections of a file; the first is ``[net]``.

    Raises:
        ConfigError: the file is missing, is no text, or has a section or a key that is not known.
    """
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"cfg={path}: is no plain file; give a .cfg file of darknet")
        if file.stat().st_size > MOST_BYTES:
            raise ConfigError(f"cfg={path}: {file.stat().st_size} bytes; darknet's .cfg are texts below {MOST_BYTES}")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cfg={path}: cannot be read: {error.strerror}; give a .cfg file of darknet") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cfg={path}: is no text; give a .cfg file of darknet, not its .weights") from error
    return parse_cfg(text, str(path))


def parse_cfg(text: str, name: str = "cfg") -> list[Section]:
    """Return the sections of a text; ``name`` stands in messages. Raises ConfigError, see ``read_cfg``."""
    sections: list[Section] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = "".join(raw.split())
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            sections.append(_begin(line, f"{name}:{number}"))
        elif not sections:
            raise ConfigError(
                f"{name}:{number}: {line[:40]!r} stands before the first section; a .cfg begins with [net]"
            )
        else:
            _add(sections[-1], line, f"{name}:{number}")
    if not sections or sections[0].kind != "net":
        raise ConfigError(f"{name}: does not begin with [net]; is it a .cfg file of darknet?")
    for section in sections[1:]:
        if section.kind == "net":
            raise section.fail("stands twice")
    return sections


def written(sections: Iterable[tuple[str, Mapping[str, object]]]) -> str:
    """Return the text of sections, which ``parse_cfg`` reads back.

    Args:
        sections: kind, and values by key, of each.
    """
    parts = ("".join([f"[{kind}]\n", *(f"{key}={value}\n" for key, value in keys.items())]) for kind, keys in sections)
    return "\n".join(parts)


def _begin(line: str, place: str) -> Section:
    kind = {"network": "net", "conv": "convolutional", "max": "maxpool"}.get(line[1:-1], line[1:-1])
    if line[-1] != "]" or kind not in _KNOWN:
        known = ", ".join(f"[{each}]" for each in _KNOWN)
        raise ConfigError(f"{place}: section {line[:40]} is not known; known are {known}")
    return Section(kind, place, {})


def _add(section: Section, line: str, place: str) -> None:
    found = _SETTING.fullmatch(line)
    if not found:
        raise ConfigError(f"{place}: {line[:40]!r} in [{section.kind}] is no key=value")
    key, value = found.groups()
    if key not in _KNOWN[section.kind]:
        raise ConfigError(f"{place}: [{section.kind}] has no key {key[:40]!r}{closest(key, _KNOWN[section.kind])}")
    if key in section.values:
        raise ConfigError(f"{place}: {key} stands twice in [{section.kind}]")
    section.values[key] = value
