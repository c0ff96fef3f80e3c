"""Training sets of which few images are labelled: what goes together, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.errors import ConfigError, DataError
from lab.tasks.classification.data.augmentation import MovesOptions
from lab.tasks.classification.data.idx import IdxDataModule
from lab.tasks.classification.data.unlabelled import PartlyLabelled, draw_all
from tests.unit.tasks.classification.data.test_idx import module
from tests.unit.tasks.classification.makers import make_mnist

SHIFT = {"flip": 0.5, "shift": 4, "padding_mode": "reflect"}


def partly(root: Path, **options: Any) -> IdxDataModule:
    return module(root, **{"num_labels": 8, "unlabelled": 2, "val_share": 0.2, "augmentation": SHIFT, **options})


def test_labelled_and_unlabelled_images_are_apart(tmp_path: Path) -> None:
    """google-research/mixmatch writes a record to the labelled or to the unlabelled file, never to both."""
    data = partly(make_mnist(tmp_path))
    train = data.dataset("train")
    assert isinstance(train, PartlyLabelled)
    labelled, others = set(train.labelled.rows.tolist()), set(train.unlabelled.rows.tolist())  # type: ignore[attr-defined]
    assert (len(labelled), len(others)) == (8, 24)
    assert not labelled & others
    assert not (labelled | others) & set(data.dataset("val").rows.tolist())
    assert data.spec.class_counts == (2, 2, 2, 2)
    assert data.steps_per_epoch() == 6
    assert train.fingerprint() != partly(tmp_path, label_seed=1).dataset("train").fingerprint()


def test_an_epoch_has_each_unlabelled_image_once_and_labelled_ones_in_turns(tmp_path: Path) -> None:
    train = partly(make_mnist(tmp_path)).dataset("train")
    for epoch in range(2):
        samples = [train[epoch, index] for index in range(len(train))]
        assert len({sample.unlabelled.image.sum().item() for sample in samples}) > 20
        for first in (0, 8, 16):  # each once before any is taken again
            assert {sample.image_id for sample in samples[first : first + 8]} == set(train.labelled.rows.tolist())
    orders = [[train[0, index].image_id for index in range(first, first + 8)] for first in (0, 8, 16)]
    assert orders[0] != orders[1]


def test_a_sample_is_a_function_of_seed_epoch_and_index(tmp_path: Path) -> None:
    root = make_mnist(tmp_path)
    one, two = partly(root).dataset("train"), partly(root).dataset("train")
    two[5, 3]
    first, again = one[1, 2], two[1, 2]
    assert torch.equal(first.image, again.image)
    several = two.__getitems__([(1, 7), (1, 2), (1, 0)]).rows(slice(1, 2))
    assert (several.image_ids.item(), several.moves.tolist()) == (first.image_id, [list(first.moves)])
    assert torch.equal(several.unlabelled.chances[0], first.unlabelled.chances)
    assert (first.image_id, first.moves, first.unlabelled.moves) == (
        again.image_id,
        again.moves,
        again.unlabelled.moves,
    )
    assert torch.equal(first.unlabelled.chances, again.unlabelled.chances)
    assert torch.equal(first.unlabelled.image, again.unlabelled.image)
    for other in (one[2, 2], one[1, 3], partly(root, seed=1).dataset("train")[1, 2]):
        assert not torch.equal(first.unlabelled.chances, other.unlabelled.chances)


def test_many_are_moved_as_one_is() -> None:
    """The ends of the numbers are the ends of the moves."""
    moves = MovesOptions(flip=0.5, shift=4, padding_mode="reflect")
    numbers = np.array([[0.0, 0.0, 0.0], [0.4999, 0.9999, 0.5], [0.5, 0.1111, 0.1112]])
    assert draw_all(moves, numbers).tolist() == [[1, -4, -4, 1], [1, 4, 0, 1], [0, -4, -3, 1]]
    still = MovesOptions(flip=0.0, shift=0, padding_mode="reflect")
    assert draw_all(still, numbers).tolist() == [[0, 0, 0, 0]] * 3


def test_views_are_moved_apart_and_crops_begin_at_0_to_8(tmp_path: Path) -> None:
    """A crop of an image padded by 4 begins at 0 to 8, both included: shifts of -4 to 4, equally often."""
    train = partly(make_mnist(tmp_path, num_train=120)).dataset("train")
    moves = torch.tensor([train[epoch, index].unlabelled.moves for epoch in range(8) for index in range(88)])
    assert moves.shape == (704, 2, 4)
    assert (moves[:, 0] != moves[:, 1]).any(1).float().mean() > 0.95
    shifts = moves[..., 1:3].flatten()
    counts = torch.bincount(shifts + 4)
    assert len(counts) == 9
    assert counts.min() > 0.8 * len(shifts) / 9
    assert abs(moves[..., 0].float().mean() - 0.5) < 0.05
    assert bool((moves[..., 3] == 1).all())


def test_a_batch_carries_pixels_once(tmp_path: Path) -> None:
    batch = partly(make_mnist(tmp_path)).first_batch()
    other = batch.unlabelled
    assert (batch.images.shape, other.images.shape) == ((4, 3, 6, 6), (4, 3, 6, 6))
    assert (other.images.dtype, other.moves.shape, other.chances.shape) == (torch.uint8, (4, 2, 4), (4, 3, 2))
    part = batch.rows(slice(1, 3)).unlabelled
    assert torch.equal(part.chances, other.chances[1:3])
    assert batch.to("meta").unlabelled.images.device.type == "meta"


def test_unlabelled_images_that_are_not_there_are_refused(tmp_path: Path) -> None:
    data = partly(make_mnist(tmp_path), num_labels=None)
    says = "the model learns from unlabelled images too, and all are labelled: give the number of labelled ones"
    with pytest.raises(DataError, match=re.escape(says)):
        data.dataset("train")
    with pytest.raises(ConfigError, match=r"^data\.augmentation: a model that learns from unlabelled .* leave policy"):
        partly(tmp_path, augmentation={"mixup": 0.2}).dataset("train")
