"""Turns samples, tables and confusion matrices into W&B's own media, which its pages can filter and switch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Resampling

from lab.loggers.media import MOST_BOXES, MediaBox, MediaSample
from lab.loggers.wandb_run import WandbRun
from lab.text import printable

if TYPE_CHECKING:
    from PIL.Image import Image

    from lab.structures import Table

LARGEST = 640
"""The longer side of a picture in pixels: larger ones are made smaller, with their boxes and masks."""
LARGEST_DRAWING = 1600
"""The same of a drawing, which has text."""
LOSSLESS = 256
"""The longer side up to which a picture is stored as PNG, else as JPEG."""
NO_CLASS = 255
"""Stands in a mask for pixels without a class: W&B stores a byte for each pixel."""
MOST_ROWS = 1000
MOST_CLASSES = 64
"""Of a confusion matrix: it has a row for each pair of classes."""


def log_samples(
    run: WandbRun,
    split: str,
    samples: Sequence[MediaSample],
    class_names: Sequence[str],
    step: int,
    table: bool = False,
) -> None:
    """Log samples as ``SPLIT/predictions``, and sounds as ``SPLIT/sounds``.

    Args:
        run: the W&B run.
        split: val or test.
        samples: of an evaluation.
        class_names: the K names, for boxes and masks.
        step: the optimizer step.
        table: log ``SPLIT/samples`` too, a table of pictures and values.
    """

    def make() -> dict[str, Any]:
        media = {"predictions": as_images(samples, class_names), "sounds": as_sounds(samples, run.scratch)}
        found = as_table(samples) if table else None
        return {f"{split}/{name}": value for name, value in {**media, "samples": found}.items() if value}

    if samples:
        run.add(make, step)


def log_evaluation(
    run: WandbRun,
    split: str,
    tables: Mapping[str, Table],
    confusion: Sequence[Sequence[int]] | None,
    class_names: Sequence[str],
    step: int,
) -> None:
    """Log the tables of an evaluation, and its confusion matrix as a chart of W&B.

    Args:
        run: the W&B run.
        split: val or test.
        tables: by name; they become ``SPLIT/NAME``.
        confusion: (K, K) counts, true classes in rows; it becomes ``SPLIT/confusion_matrix``.
        class_names: the K names.
        step: the optimizer step.
    """

    def make() -> dict[str, Any]:
        found = {name: rows_as_table(rows) for name, rows in tables.items()}
        if confusion is not None:
            found["confusion_matrix"] = confusion_chart(confusion, class_names, f"{split}: confusion matrix")
        return {f"{split}/{name}": value for name, value in found.items() if value is not None}

    if tables or confusion is not None:
        run.add(make, step)


def log_pictures(run: WandbRun, pictures: Mapping[str, Image], step: int) -> None:
    """Log pictures by name."""

    def make() -> dict[str, Any]:
        import wandb

        return {name: wandb.Image(_reduced(picture, LARGEST_DRAWING)[0]) for name, picture in pictures.items()}

    if pictures:
        run.add(make, step)


def as_images(samples: Sequence[MediaSample], class_names: Sequence[str]) -> list[Any]:
    """Return W&B's images, with boxes and masks as layers that can be switched.

    Args:
        samples: of an evaluation.
        class_names: the K names, for boxes and masks.
    """
    return [_as_image(sample, {label: printable(name) for label, name in enumerate(class_names)}) for sample in samples]


def as_sounds(samples: Sequence[MediaSample], folder: Path) -> list[Any]:
    """Return W&B's sounds; their files are written into ``folder``, from which W&B copies them."""
    import wandb

    sounds = []
    for number, sample in enumerate(samples):
        if sample.sound:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{number}.wav"
            file.write_bytes(sample.sound)
            sounds.append(wandb.Audio(str(file), caption=printable(sample.caption)))
    return sounds


def as_table(samples: Sequence[MediaSample]) -> Any | None:
    """Return a table of the samples with pictures and values; None if they have no values."""
    import wandb

    names = list(dict.fromkeys(name for sample in samples for name in sample.values))
    if not names:
        return None
    rows = [
        [number, wandb.Image(_reduced(sample.picture)[0]), *(_plain(sample.values.get(name)) for name in names)]
        for number, sample in enumerate(samples)
    ]
    return wandb.Table(columns=["sample", "picture", *names], data=rows)


def rows_as_table(rows: Table) -> Any | None:
    """Return the first ``MOST_ROWS`` rows of a table of an evaluation; None if there are none."""
    import wandb

    names = list(dict.fromkeys(name for row in rows for name in row))
    data = [[_plain(row.get(name)) for name in names] for row in rows[:MOST_ROWS]]
    return wandb.Table(columns=[printable(name) for name in names], data=data) if data else None


def confusion_chart(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str) -> Any | None:
    """Return W&B's chart of a confusion matrix; None for more than ``MOST_CLASSES`` classes.

    Args:
        confusion: (K, K) counts, true classes in rows.
        class_names: the K names.
        title: above the chart.
    """
    import wandb

    if len(class_names) > MOST_CLASSES:
        return None
    names = [printable(name) for name in class_names]
    columns: list[str | int] = ["Actual", "Predicted", "nPredictions"]
    data = [
        [names[true], names[found], int(count)]
        for true, counts in enumerate(confusion)
        for found, count in enumerate(counts)
    ]
    fields = {str(name): str(name) for name in columns}
    table = wandb.Table(columns=columns, data=data)
    return wandb.plot_table("wandb/confusion_matrix/v1", table, fields, {"title": title})


def _as_image(sample: MediaSample, labels: Mapping[int, str]) -> Any:
    import wandb

    picture, ratio = _reduced(sample.picture)
    boxes: dict[str, dict[str, Any]] = {
        layer: {"box_data": _boxes(found, ratio, picture, labels), "class_labels": dict(labels)}
        for layer, found in sample.boxes.items()
    }
    masks: dict[str, dict[str, Any]] = {
        layer: {"mask_data": _mask(mask, picture), "class_labels": {**labels, NO_CLASS: "no class"}}
        for layer, mask in sample.masks.items()
        if len(labels) <= NO_CLASS
    }
    return wandb.Image(
        picture,
        caption=printable(sample.caption) or None,
        boxes=boxes or None,
        masks=masks or None,
        file_type="png" if max(picture.size) <= LOSSLESS else "jpg",
    )


def _reduced(picture: Image, largest: int = LARGEST) -> tuple[Image, float]:
    """Return a picture whose longer side is at most ``largest``, and by what its sides were multiplied."""
    ratio = min(1.0, largest / max(picture.size))
    if ratio == 1.0:
        return picture.convert("RGB"), 1.0
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    return picture.convert("RGB").resize(size, Resampling.BILINEAR), ratio


def _boxes(boxes: Sequence[MediaBox], ratio: float, picture: Image, labels: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return boxes as W&B wants them: in pixels within the picture, the highest scores first."""
    finite = [box for box in boxes if all(map(math.isfinite, (*box.xyxy, box.score or 0.0)))]
    finite = sorted(finite, key=lambda box: -(1.0 if box.score is None else box.score))[:MOST_BOXES]
    data = []
    for box in finite:
        x1, x2 = (min(max(value * ratio, 0.0), float(picture.width)) for value in box.xyxy[::2])
        y1, y2 = (min(max(value * ratio, 0.0), float(picture.height)) for value in box.xyxy[1::2])
        name = labels.get(box.label, str(box.label))
        one: dict[str, Any] = {
            "position": {"minX": x1, "minY": y1, "maxX": x2, "maxY": y2},
            "domain": "pixel",
            "class_id": box.label,
            "box_caption": name if box.score is None else f"{name} {box.score:.2f}",
        }
        if box.score is not None:
            one["scores"] = {"score": min(max(box.score, 0.0), 1.0)}
        data.append(one)
    return data


def _mask(mask: Any, picture: Image) -> Any:
    """Return the classes of a mask as bytes of the picture's size, each from the pixel at its place."""
    classes = np.where((mask < 0) | (mask >= NO_CLASS), NO_CLASS, mask).astype(np.uint8)
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for new, old in zip((picture.height, picture.width), classes.shape, strict=True)
    )
    return classes[rows][:, columns]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return printable(value) if isinstance(value, str) else value
