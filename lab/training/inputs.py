"""``Task.predict`` for images: prepares a caller's images as ``stage=predict`` does and runs the network on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL.Image import Image

from lab.data.images.inputs import read_inputs, split_inputs
from lab.errors import CheckpointError
from lab.structures import KeyedDataset
from lab.training.task import Task

MakeDataset = Callable[[Sequence[Image]], KeyedDataset]
"""Makes samples from images, prepared as in evaluation."""


def predict_images(
    task: Task, inputs: Any, batch_size: int, dataset: MakeDataset, collate: Callable[[Sequence[Any]], Any]
) -> tuple[list[Any], bool]:
    """Return a task's prediction for each image, in the order of the images, and whether several were given.

    Args:
        task: its ``predict_step`` returns the indices of the images and a list with the prediction for each.
        inputs: see ``lab.data.images.inputs.split_inputs``.
        batch_size: images in one forward pass.
        dataset: makes samples from RGB images.
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
        (height, width), or None; the shorter side, empty where images are not resized; the limit of the longer side, or
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
            "the task does not know the image size of its evaluation, because an older version saved it: "
            "use lab.predict(ckpt, input), which takes the size from the run's config"
        )
    return None, (resize[0],) if resize[0] else (), resize[1] or None
