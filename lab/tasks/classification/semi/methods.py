"""How a classifier learns from a batch: from its labels alone, or from unlabelled images too.

A method turns a batch into the terms of the loss. It stands between the task, which knows network and data, and the
loss of labelled images (``lab.tasks.classification.criterion``), and is chosen by ``model.learning.method``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn

from lab.errors import ConfigError
from lab.layers.convolution import BATCH_NORMS
from lab.structures import Term
from lab.structures.classification import ClassificationBatch, ClassificationTargets, Unlabelled
from lab.tasks.classification.criterion import NUM_IMAGES, Criterion
from lab.tasks.classification.data.augmentation import mixed_targets

NUM_GUESSES = "num_guesses"


class LearningTask(Protocol):
    """What a method needs of the task."""

    net: nn.Module
    criterion: Criterion
    learning: dict[str, Any]
    figures: Mapping[str, Term]

    @property
    def step(self) -> int:
        """Optimizer steps that were made."""
        ...

    @property
    def max_steps(self) -> int:
        """Optimizer steps of the whole training."""
        ...

    @property
    def data_rank(self) -> int:
        """The number of this rank among those that train together; 0 outside of a training."""
        ...

    @property
    def num_data_ranks(self) -> int:
        """R, how many they are."""
        ...

    def everywhere(self, tensor: Tensor) -> Tensor:
        """Return a tensor (...) of every rank that trains, as (R, ...); no gradient passes."""
        ...

    def inputs(self, batch: ClassificationBatch) -> Tensor:
        """Return the images of a batch as the network reads them, augmented as the batch says."""
        ...

    def normalized(self, images: Tensor) -> Tensor:
        """Return uint8 images as the network reads them."""
        ...

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's logits of normalised images."""
        ...


class Supervised(nn.Module):
    """The loss of the labelled images; unlabelled ones are not looked at."""

    def terms(self, task: LearningTask, batch: ClassificationBatch) -> tuple[Tensor, Mapping[str, Term]]:
        """Return the logits (B, C) of the labelled images and the terms of the loss."""
        logits = task.logits(task.inputs(batch))
        return logits, task.criterion(logits, mixed_targets(batch, logits.shape[1]))

    def totals(self, task: LearningTask, batch: ClassificationBatch) -> Mapping[str, float]:
        """Return the batch's share of the normalisers."""
        return task.criterion.totals(batch.targets)


class SemiSupervised(Supervised, ABC):
    """Base of methods that also learn from unlabelled images, by a second term whose weight rises in the beginning.

    Both terms are means: over the labelled images, and over the views of the unlabelled ones. Outside of training it
    is ``Supervised``.
    """

    def terms(self, task: LearningTask, batch: ClassificationBatch) -> tuple[Tensor, Mapping[str, Term]]:
        """Return the logits (B, C) of the labelled images and ``loss_x``, ``loss_u``.

        Raises:
            ConfigError: a batch of the training has no unlabelled images.
        """
        if not self.training:
            return super().terms(task, batch)
        if batch.unlabelled is None:
            raise ConfigError(
                f"model.learning.method={task.learning['method']} learns from unlabelled images too, and the data "
                "gives none: model.asks.unlabelled says how many views of each, data.num_labels how many have labels"
            )
        weight = task.learning["lambda_u"] * ramp(task.step, task.learning["ramp_steps"], task.max_steps)
        logits, loss_x, loss_u, figures = self.both(task, batch, batch.unlabelled)
        task.figures = {
            "lambda_u": Term(loss_x.new_full((), weight * len(batch.images)), NUM_IMAGES),
            **{name: Term(value, NUM_GUESSES) for name, value in figures.items()},
        }
        return logits, {"loss_x": Term(loss_x, NUM_IMAGES), "loss_u": Term(loss_u * weight, NUM_GUESSES)}

    @abstractmethod
    def both(
        self, task: LearningTask, batch: ClassificationBatch, unlabelled: Unlabelled
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Return the logits of the labelled images, two losses and other figures, as sums over images and views."""

    def totals(self, task: LearningTask, batch: ClassificationBatch) -> Mapping[str, float]:
        """Return the number of images, and of views of unlabelled ones."""
        counts = dict(super().totals(task, batch))
        if batch.unlabelled is not None:
            counts[NUM_GUESSES] = float(batch.unlabelled.num_views * len(batch.unlabelled.images))
        return counts


def of_labels(task: LearningTask, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of labelled images as a sum over them."""
    (term,) = task.criterion(logits, ClassificationTargets(labels)).values()
    return term.sum


def ramp(step: int, length: float, max_steps: int) -> float:
    """Return the share of the full weight at an optimizer step (0 is the first): a line from 0 to 1.

    Args:
        step: steps that were made.
        length: of the line in steps, or below 1 as a share of ``max_steps``; 0: the full weight at once.
        max_steps: of the training.
    """
    steps = length * max_steps if length < 1 else length
    return min(1.0, step / steps) if steps else 1.0


@contextmanager
def without_statistics(net: nn.Module) -> Iterator[None]:
    """Context in which batch norms use a batch's statistics and do not keep them."""
    norms = [module for module in net.modules() if isinstance(module, BATCH_NORMS) and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
