"""Samples of an evaluation for trackers: what was seen, what is true, and what was predicted. No torch.

A tracker such as W&B draws boxes and masks itself, so that they can be switched on and off and filtered by score. So a
sample has the picture without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy.typing as npt
from PIL.Image import Image

MOST_BOXES = 100
"""Boxes of a layer: those of the highest scores."""


@dataclass(frozen=True)
class MediaBox:
    """A box.

    Attributes:
        xyxy: its corners in pixels of the picture.
        label: its class, 0..K-1.
        score: from 0 to 1; None for the truth.
    """

    xyxy: tuple[float, float, float, float]
    label: int
    score: float | None = None


@dataclass(frozen=True)
class MediaSample:
    """A sample.

    Attributes:
        picture: what was seen, without boxes and masks.
        boxes: boxes by layer, such as ``truth`` and ``prediction``.
        masks: (h, w) integers by layer: the class of each pixel of the picture, negative where there is none.
        caption: a short line.
        values: further columns of a table: names and plain values.
        sound: a WAVE file; empty if it is none.
    """

    picture: Image
    boxes: Mapping[str, Sequence[MediaBox]] = field(default_factory=lambda: MappingProxyType({}))
    masks: Mapping[str, npt.NDArray[Any]] = field(default_factory=lambda: MappingProxyType({}))
    caption: str = ""
    values: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    sound: bytes = b""


def label_values(truth: str, scores: Sequence[float], names: Sequence[str], most: int = 3) -> dict[str, Any]:
    """Return the columns of a sample of one class: truth, prediction, whether it is right, and the highest scores.

    Args:
        truth: the name of the true class.
        scores: (K) probabilities.
        names: of the K classes.
        most: how many of the highest scores stand in the last column.
    """
    order = sorted(range(len(names)), key=lambda label: -scores[label])[:most]
    found = names[order[0]]
    top = ", ".join(f"{names[label]} {scores[label]:.3f}" for label in order)
    return {"truth": truth, "prediction": found, "right": found == truth, "score": scores[order[0]], "highest": top}


def label_caption(values: Mapping[str, Any]) -> str:
    """Return the caption of what ``label_values`` describes: ``cat 0.93``, or ``dog 0.51 (true: cat)``."""
    said = f"{values['prediction']} {values['score']:.2f}"
    return said if values["right"] else f"{said} (true: {values['truth']})"
