"""Pseudo-labels (Lee, ICML workshop 2013) as MixMatch's comparison trains them (google-research/mixmatch).

The class that the network finds in an unlabelled image is taken for its label where its probability is above a
threshold (Oliver et al., "Realistic Evaluation of Deep Semi-Supervised Learning Algorithms", NeurIPS 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.ops.precision import full_precision
from lab.structures.classification import ClassificationBatch, Unlabelled
from lab.tasks.classification.data.moves import move_images
from lab.tasks.classification.semi.methods import LearningTask, SemiSupervised, of_labels, without_statistics


class PseudoLabel(SemiSupervised):
    """The loss of pseudo-labels.

    The mean is over all unlabelled images, also those below the threshold. Batch norms keep the statistics of the
    labelled images.

    Args:
        threshold: the least probability of a pseudo-label.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def both(
        self, task: LearningTask, batch: ClassificationBatch, unlabelled: Unlabelled
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Return the logits of the labelled images, two losses, and how many pseudo-labels are used."""
        logits = task.logits(task.inputs(batch))
        sources = torch.arange(len(unlabelled.images), device=unlabelled.images.device).repeat(unlabelled.num_views)
        views = move_images(unlabelled.images, torch.cat(unlabelled.moves.unbind(1)), sources)
        with without_statistics(task.net):
            guesses = full_precision(task.logits(task.normalized(views)))
        confidence, found = guesses.detach().softmax(1).max(1)
        used = (confidence > self.threshold).to(guesses.dtype)
        loss_u = (F.cross_entropy(guesses, found, reduction="none") * used).sum()
        return logits, of_labels(task, logits, batch.targets.labels), loss_u, {"guesses_used": used.sum()}
