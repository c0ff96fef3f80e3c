"""MixMatch (Berthelot et al., NeurIPS 2019), algorithm 1, in the semantics of google-research/mixmatch.

1. The label of an unlabelled image is guessed: the mean of the network's probabilities for its K views, sharpened. The
   network is in training mode, but its batch norms keep nothing, and no gradient passes.
2. Labelled images and all views are mixed with partners among all of them (MixUp), each with a share of its own, which
   is at least 1/2: so what was labelled stays mostly labelled.
3. The mixed images are interleaved into K + 1 batches, each of which has images of all parts; the network runs on each.
   Batch norms keep the statistics of the first one.
4. Cross-entropy on what was labelled, the mean square between probabilities and guesses on what was not.

Every random choice travels with the sample that it is for, so it is a function of (seed, epoch, index): the order of
the partners is that of a random number of each image, and ranks exchange images and guesses. So partners and batches
are the same on any number of ranks. What each rank computes by itself are batch norms' statistics (on CPUs).
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lab.ops.hashing import Int64Array
from lab.ops.precision import full_precision
from lab.structures.classification import ClassificationBatch, Unlabelled
from lab.tasks.classification.data.moves import move_images
from lab.tasks.classification.semi.methods import LearningTask, SemiSupervised, of_labels, without_statistics
from lab.tasks.classification.semi.mixing import FoldedBeta, groups, interleave, mix, sharpen


class MixMatch(SemiSupervised):
    """The loss of MixMatch.

    Args:
        temperature: T, of sharpening.
        alpha: of the Beta distribution of the shares.
    """

    def __init__(self, temperature: float, alpha: float) -> None:
        super().__init__()
        self.temperature, self.shares = temperature, FoldedBeta(alpha)

    def both(
        self, task: LearningTask, batch: ClassificationBatch, unlabelled: Unlabelled
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Return the logits of the mixed labelled images, two losses, and the confidence of the guesses."""
        count, views = len(batch.images), unlabelled.num_views
        pixels = moved_parts(batch, unlabelled)  # (P, B, 3, H, W) uint8
        images = task.normalized(pixels.flatten(0, 1)).view(pixels.shape)
        with torch.no_grad(), without_statistics(task.net):
            guess = self.guess([task.logits(part) for part in images[1:]])
        labels = F.one_hot(batch.targets.labels, guess.shape[1]).to(guess.dtype)
        targets = torch.stack([labels, *[guess] * views])  # (P, B, C)

        chances = unlabelled.chances.permute(2, 1, 0)  # (2, P, B)
        order = everywhere(task, chances[0]).argsort(stable=True)
        partners = order.view(views + 1, -1, count)[:, task.data_rank].flatten()
        shares = self.shares(chances[1].flatten())
        whole = everywhere(task, pixels)
        alone = len(whole) == len(partners)
        others = images.flatten(0, 1)[partners] if alone else task.normalized(whole[partners])
        mixed = mix(images.flatten(0, 1), others, shares).view(images.shape)
        targets = mix(targets.flatten(0, 1), everywhere(task, targets)[partners], shares).view(targets.shape)

        logits = self.interleaved(task, mixed)
        loss_x = of_labels(task, logits[0], targets[0])
        probabilities = full_precision(logits[1:]).softmax(-1)
        loss_u = (targets[1:] - probabilities).square().sum() / targets.shape[-1]
        return logits[0], loss_x, loss_u, {"guess_confidence": guess.max(1).values.sum() * views}

    def guess(self, logits: list[Tensor]) -> Tensor:
        """Return guessed labels (B, C) from logits (B, C) of each view."""
        return sharpen(torch.stack([full_precision(each).softmax(1) for each in logits]).mean(0), self.temperature)

    @staticmethod
    def interleaved(task: LearningTask, mixed: Tensor) -> Tensor:
        """Return the logits (P, B, C) of images (P, B, 3, H, W), computed in interleaved batches."""
        count, first = mixed.shape[1], task.data_rank * mixed.shape[1]
        whole = _groups(count * task.num_data_ranks, len(mixed))
        firsts = torch.tensor(whole[first : first + count]).to(mixed.device, non_blocking=True)
        batches = interleave(mixed, firsts)
        logits = [task.logits(batches[0])]
        with without_statistics(task.net):
            logits += [task.logits(each) for each in batches[1:]]
        return interleave(torch.stack(logits), firsts)


_groups = cache(groups)


def moved_parts(batch: ClassificationBatch, unlabelled: Unlabelled) -> Tensor:
    """Return the labelled images and each view of the unlabelled ones, moved all at once: (P, B, 3, H, W) uint8."""
    still = unlabelled.moves.new_zeros(len(batch.images), 4) if batch.moves is None else batch.moves
    images = torch.cat([batch.images, unlabelled.images])
    sources = torch.from_numpy(_sources(len(batch.images), unlabelled.num_views))
    sources = sources.to(images.device, non_blocking=True)
    moved = move_images(images, torch.cat([still, *unlabelled.moves.unbind(1)]), sources)
    return moved.view(1 + unlabelled.num_views, -1, *images.shape[1:])


@lru_cache(maxsize=8)
def _sources(count: int, views: int) -> Int64Array:
    """Return which of ``count`` labelled and as many unlabelled images is moved for each place of all parts."""
    return np.concatenate([np.arange(count), np.tile(np.arange(count, 2 * count), views)])


def everywhere(task: LearningTask, parts: Tensor) -> Tensor:
    """Return what all ranks have (P R B, ...), part by part, from (P, B, ...) of this one."""
    return task.everywhere(parts).transpose(0, 1).flatten(0, 2)
