"""Samples of classifiers for trackers: an image, its classes and the highest scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from lab.loggers.media import MediaSample, label_caption, label_values
from lab.report.canvas import as_picture
from lab.structures.classification import ClassificationBatch


def classification_media(task: Any, outputs: Tensor, batch: ClassificationBatch, count: int) -> Iterator[MediaSample]:
    """Yield the first images of a batch with truth, prediction and scores."""
    rows, names = batch.valid.nonzero().flatten().tolist()[:count], task.class_names
    scores = task.scores(outputs[rows]).detach().float().cpu().tolist()
    labels = batch.targets.labels.cpu()
    for row, one in zip(rows, scores, strict=True):
        picture = as_picture(batch.images[row].cpu())
        if task.spec.multilabel:
            values = sets_of(one, labels[row].tolist(), names, task.threshold)
            yield MediaSample(picture, caption=values["prediction"] or "-", values=values)
            continue
        values = label_values(names[int(labels[row])], one, names)
        yield MediaSample(picture, caption=label_caption(values), values=values)


def sets_of(scores: list[float], truth: list[float], names: Sequence[str], threshold: float) -> dict[str, Any]:
    """Return the columns of an image of several classes: truth, prediction, and whether both are the same."""
    found = [name for name, score in zip(names, scores, strict=True) if score > threshold]
    true = [name for name, share in zip(names, truth, strict=True) if share > 0.5]
    return {"truth": ", ".join(true), "prediction": ", ".join(found), "right": found == true}
