"""What a file for another engine says about itself: what goes in and how images become that, what comes out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any

from lab.system.provenance import now


@dataclass(frozen=True)
class ResizeRule:
    """How an image of any size becomes the input.

    Attributes:
        how: ``stretch`` to the input's size; ``shorter side`` to ``shorter_side`` pixels, the longer one in
            proportion (to ``longest`` at most, where that is not 0); ``crop``, the shorter side to ``shorter_side``
            and the middle taken; ``letterbox`` into the input's size, in proportion, the rest grey.
        shorter_side: in pixels.
        longest: in pixels.
        interpolation: ``bilinear`` or ``bicubic``, with antialiasing.
    """

    how: str = "stretch"
    shorter_side: int = 0
    longest: int = 0
    interpolation: str = "bilinear"


@dataclass(frozen=True)
class ExportDescription:
    """What an exported file says about itself.

    Attributes:
        name: of the model.
        task: its kind of problem.
        outputs: the name of each output, and what its dimensions are.
        class_names: of each label.
        size: (height, width) of the images that it was made with.
        resize: how images become those.
        thresholds: what the network itself would apply after the outputs, such as ``min_score`` and ``nms_iou``.
        source: the run, checkpoint or words that it is from.
        format: the format of the file.
        dynamic: the dimensions of the input that are open.
        fixed: of each that was to be open and is not, the reason.
        details: what the format adds, such as ``opset``.
    """

    name: str
    task: str
    outputs: Mapping[str, str]
    class_names: tuple[str, ...]
    size: tuple[int, int]
    resize: ResizeRule = ResizeRule()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    format: str = ""
    dynamic: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Return all of it as JSON has it, with what goes in and comes out in words."""
        batch = "batch" if "batch" in self.dynamic else "1"
        sides = [
            name if name in self.dynamic else str(side)
            for name, side in zip(("height", "width"), self.size, strict=True)
        ]
        words = {
            "input": {"images": f"float32 ({batch}, 3, {', '.join(sides)}), RGB from 0 to 1, normalised inside"},
            "created": now(),
            "lab": version("lab"),
        }
        return {**asdict(self), **words}

    def to_json(self) -> str:
        """Return all of it as indented JSON."""
        return json.dumps(self.to_plain(), indent=1, ensure_ascii=False) + "\n"

    def with_format(
        self, name: str, dynamic: Iterable[str], fixed: Mapping[str, str], **details: Any
    ) -> ExportDescription:
        """Return the description of a file of a format.

        Args:
            name: of the format.
            dynamic: the dimensions that are open.
            fixed: the reason of each that was to be open and is not.
            details: what the format adds.
        """
        return replace(self, format=name, dynamic=tuple(dynamic), fixed=dict(fixed), details=details)
