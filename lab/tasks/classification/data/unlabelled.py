"""A training set of which few images are labelled: each sample is a labelled image and an unlabelled one.

An epoch goes once through the unlabelled images, in the order of any training set. The labelled ones are repeated
beside them: through all of them in a random order, then in another one, so that none is used more than once more often
than another. What goes with what, and every random number, is a function of (seed, epoch, index).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Protocol

import torch

from lab.data.images.resizing import sample_generator
from lab.data.presence import ClassCounts
from lab.structures.classification import ClassificationSample, UnlabelledSample

_CHANCES = 1 << 33
"""Added to the seed for the random numbers of mixing, so that they have nothing to do with the moves."""


class Images(Protocol):
    """Images whose pixels stay the same and whose moves are drawn in each epoch, as ``ArrayDataset``'s are."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the sample for ``(epoch, index)``."""
        ...

    def class_counts(self) -> ClassCounts:
        """Return the images of each class."""
        ...

    def fingerprint(self) -> str:
        """Return the hash of the files and of which of their images are taken."""
        ...


class PartlyLabelled:
    """Pairs of a labelled image and K views of an unlabelled one.

    Args:
        labelled: n images.
        unlabelled: N images; their labels are not used.
        num_views: K.
        seed: decides, with epoch and index, every random choice.
    """

    aspect_ratios = None

    def __init__(self, labelled: Images, unlabelled: Images, num_views: int, seed: int) -> None:
        self.labelled, self.unlabelled, self.num_views, self.seed = labelled, unlabelled, num_views, seed
        self._order: tuple[int, torch.Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        """Return the number of unlabelled images."""
        return len(self.unlabelled)

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the sample for ``(epoch, index)``."""
        epoch, index = key
        sample = self.labelled[self.partner(epoch, index)]
        views = [self.unlabelled[epoch * self.num_views + view, index] for view in range(self.num_views)]
        chances = torch.randint(
            2**31, (1 + self.num_views, 2), generator=sample_generator(self.seed + _CHANCES, epoch, index)
        )
        moves = tuple(view.moves or (0, 0, 0, 0) for view in views)
        return replace(sample, unlabelled=UnlabelledSample(views[0].image, moves, chances))

    def partner(self, epoch: int, index: int) -> tuple[int, int]:
        """Return the key of the labelled image that goes with an unlabelled one."""
        count = len(self.labelled)
        rounds = -(-len(self) // count)
        if self._order[0] != epoch:
            generator = sample_generator(self.seed + _CHANCES, epoch, -1)
            orders = [torch.randperm(count, generator=generator) for _ in range(rounds)]
            self._order = (epoch, torch.cat(orders))
        return epoch * rounds + index // count, int(self._order[1][index])

    def class_counts(self) -> ClassCounts:
        """Return the labelled images of each class."""
        return self.labelled.class_counts()

    def fingerprint(self) -> str:
        """Return the hash of the files, and of which images are labelled and which are not."""
        parts = self.labelled.fingerprint() + self.unlabelled.fingerprint()
        return hashlib.sha256(parts.encode()).hexdigest()
