"""Classification samples put together into a batch: images have one size, so they are stacked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lab.structures.classification import (
    ClassificationBatch,
    ClassificationSample,
    ClassificationTargets,
    Drawn,
    DrawnAugmentation,
    Unlabelled,
    UnlabelledSample,
)


def collate_classification(samples: Sequence[ClassificationSample] | ClassificationBatch) -> ClassificationBatch:
    """Put samples together into a batch.

    Args:
        samples: B samples with images of one size; either all of them carry ``moves`` or none does, and so with
            ``unlabelled``, ``shares`` and each part of ``augmentation``. Or what a dataset has put together already.

    Returns:
        A batch in which every sample is ``valid``.

    Raises:
        ValueError: there is no sample.
    """
    if isinstance(samples, ClassificationBatch):
        return samples
    if not samples:
        raise ValueError("collate_classification needs at least one sample")
    drawn = [sample.augmentation for sample in samples if sample.augmentation is not None]
    unlabelled = [sample.unlabelled for sample in samples if sample.unlabelled is not None]
    moves = [sample.moves for sample in samples if sample.moves is not None]
    shares = [sample.shares for sample in samples if sample.shares is not None]
    labels = torch.stack(shares) if shares else torch.tensor([sample.label for sample in samples], dtype=torch.int64)
    return ClassificationBatch(
        images=torch.stack([sample.image for sample in samples]),
        padding_mask=None,
        targets=ClassificationTargets(labels),
        image_ids=torch.tensor([sample.image_id for sample in samples], dtype=torch.int64),
        original_sizes=torch.tensor([sample.original_size for sample in samples], dtype=torch.int64),
        valid=torch.ones(len(samples), dtype=torch.bool),
        moves=torch.tensor(moves, dtype=torch.int16) if moves else None,
        augmentation=_augmentation(drawn) if drawn else None,
        unlabelled=_collated(unlabelled) if unlabelled else None,
    )


def _augmentation(drawn: Sequence[Drawn]) -> DrawnAugmentation:
    operations, erased, mixed = ([part for part in parts if part] for parts in zip(*drawn, strict=True))
    codes, magnitudes = np.moveaxis(np.array(operations, dtype=np.float64), -1, 0) if operations else (None, None)
    return DrawnAugmentation(
        operations=None if codes is None else codes.astype(np.int64),
        magnitudes=magnitudes,
        erased=torch.tensor(erased, dtype=torch.int16) if erased else None,
        mixed=torch.tensor(mixed, dtype=torch.float32) if mixed else None,
    )


def _collated(samples: Sequence[UnlabelledSample]) -> Unlabelled:
    return Unlabelled(
        torch.stack([sample.image for sample in samples]),
        torch.tensor([sample.moves for sample in samples], dtype=torch.int16),
        torch.stack([sample.chances for sample in samples]),
    )
