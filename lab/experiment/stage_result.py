"""What an evaluation gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.loggers.media import MediaSample
from lab.structures import Table

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class Shown:
    """What a tracker shows of an evaluation besides numbers and tables.

    Attributes:
        samples: the first ones.
        drawings: pictures of the whole, by name.
        confusion: (K, K) counts, true classes in rows; None: there is none.
        class_names: the K names.
    """

    samples: list[MediaSample] = field(default_factory=list)
    drawings: dict[str, Image] = field(default_factory=dict)
    confusion: list[list[int]] | None = None
    class_names: Sequence[str] = ()


@dataclass
class StageResult:
    """A stage's metrics, protocol, tables, files, a sheet of its pictures, and the metrics where lower is better."""

    metrics: dict[str, float]
    protocol: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    sheet: Image | None = None
    lower_is_better: list[str] = field(default_factory=list)
    shown: Shown = field(default_factory=Shown)
