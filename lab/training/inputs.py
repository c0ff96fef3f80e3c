"""``Task.predict`` of images: the same preparation and network as ``stage=predict``, on what a caller hands in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL.Image import Image

from lab.data.images.inputs import read_inputs, split_inputs
from lab.errors import CheckpointError
from lab.structures import KeyedDataset
from lab.training.task import Task

MakeDataset = Callable[[Sequence[Image]], KeyedDataset]
"""Makes samples of images, prepared as in evaluation."""


def predict_images(
    task: Task, inputs: Any, batch_size: int, dataset: MakeDataset, collate: Callable[[Sequence[Any]], Any]
) -> tuple[list[Any], bool]:
    """Return what a task finds in each image, in their order, and whether several were given.

    Args:
        task: whose ``predict_step`` returns the numbers of images and a list of what was found in each.
        inputs: see ``lab.data.images.inputs.split_inputs``.
        batch_size: images that the network reads at once.
        dataset: makes samples of RGB images.
        collate: puts samples together into a batch.

    Raises:
        DataError: an image cannot be used.
    """
    images, several = split_inputs(inputs)
    found: list[Any] = []
    with task.evaluating():
        for first in range(0, len(images), batch_size):
            samples = dataset(read_inputs(images[first : first + batch_size], first))
            batch = collate([samples[0, index] for index in range(len(samples))])
            found += task.predict_step(batch.to(task.device), 0)[1]
    return found, several


def resize_of(task: Task) -> tuple[tuple[int, int] | None, tuple[int, ...], int | None]:
    """Return how a task's images are resized in evaluation.

    Returns:
        (height, width), or None; the shorter side, nothing where images stay as they are; the longest side allowed, or
        None.

    Raises:
        CheckpointError: the task does not know.
    """
    shape = task.spec.input_shape
    if len(shape) == 3 and shape[1] and shape[2]:
        return (shape[1], shape[2]), (), None
    resize: tuple[int, ...] = getattr(task.spec, "resize", ())
    if len(resize) != 2:
        raise CheckpointError(
            "the task does not say at which size images are evaluated, as it is of an older version: "
            "lab.predict(ckpt, input) takes it from the run's config"
        )
    return None, (resize[0],) if resize[0] else (), resize[1] or None
