"""Long tails of classes: their sizes against published ones, what they keep, what is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.tasks.classification.data.chosen import few_labels, long_tail, tail_counts
from lab.tasks.classification.data.folder import ImageFolderModule
from lab.tasks.classification.data.idx import IdxDataModule
from tests.unit.tasks.classification.data.test_idx import TEST, TRAIN
from tests.unit.tasks.classification.makers import make_folder, make_idx

CIFAR10_LT = {
    100: [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50],
    10: [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500],
}
"""The images of each class of CIFAR-10-LT, as published with the code of LDAM-DRW (Cao et al., NeurIPS 2019)."""


@pytest.mark.parametrize("ratio", CIFAR10_LT)
def test_sizes_of_published_long_tails(ratio: int) -> None:
    assert tail_counts(5000, 10, ratio) == CIFAR10_LT[ratio]
    assert sum(tail_counts(500, 100, 100)) == 10847  # CIFAR-100-LT


def test_what_is_kept_follows_from_the_seed(caplog: pytest.LogCaptureFixture) -> None:
    labels = np.arange(300) % 3
    keys = [str(row) for row in range(300)]
    with caplog.at_level(logging.WARNING):
        rows = long_tail(labels, "abc", keys, 25, 0, "set 1")
    assert np.bincount(labels[rows]).tolist() == [100, 20, 4]
    assert "set 1: data.imbalance=25 leaves 124 of 300 images: a 100, b 20, c 4" in caplog.text
    assert rows.tolist() == sorted(set(rows.tolist())) == long_tail(labels, "abc", keys, 25, 0, "").tolist()
    assert rows.tolist() != long_tail(labels, "abc", keys, 25, 1, "").tolist()
    # what an image is called decides, not where it stands
    turned = long_tail(labels[::-1].copy(), "abc", keys[::-1], 25, 0, "")
    assert sorted(299 - turned) == rows.tolist()
    assert len(long_tail(labels, "abc", keys, 1, 0, "")) == 300
    assert np.bincount(labels[long_tail(labels, "abc", keys, 1e6, 0, "")]).tolist() == [100, 1, 1]


@pytest.mark.parametrize("kind", ["folder", "idx"])
def test_long_tail_and_few_labels_of_a_dataset(tmp_path: Path, kind: str) -> None:
    """The training set alone is thinned; few labels are taken from what the tail leaves."""
    options: dict[str, Any] = {"val_share": 0.2, "batch_size": 2}
    if kind == "folder":
        make_folder(tmp_path, {"train/a": 20, "train/b": 20, "train/c": 20}, (6, 6))
        files = {"images": "train"}
        data = lambda **more: ImageFolderModule(str(tmp_path), files, files, image_size=8, **options, **more)  # noqa: E731
    else:
        for name, count in ((TRAIN, 60), (TEST, 6)):
            make_idx(tmp_path / name["images"], np.zeros((count, 6, 6)))
            make_idx(tmp_path / name["labels"], np.arange(count) % 3)
        data = lambda **more: IdxDataModule(str(tmp_path), TRAIN, TEST, **options, **more)  # noqa: E731
    tail = data(imbalance=16)
    assert tail.spec.class_counts == (16, 4, 1)
    assert tail.dataset("val").class_counts().counts == (4, 4, 4)
    weights = data(imbalance=16, class_balanced=True).sample_weights()
    assert sorted(weights) == [1 / 16] * 16 + [1 / 4] * 4 + [1.0]
    assert tail.sample_weights() is None
    few = data(num_labels=6)
    assert few.spec.class_counts == (2, 2, 2)
    assert sum(data(imbalance=16, num_labels=10).spec.class_counts) == 10
    prints = {made.fingerprint() for made in (tail, few, data(), data(imbalance=4), data(num_labels=6, label_seed=1))}
    assert len(prints) == 5
    assert data(imbalance=16).fingerprint() == tail.fingerprint()


@pytest.mark.parametrize(("counts", "number"), [((500, 100, 100, 100), 4), ((1000, 5, 200), 50), ((5000, 83, 50), 3)])
def test_few_labels_leave_no_class_out(counts: tuple[int, ...], number: int) -> None:
    """Also where a class is too rare for its share of them."""
    labels, names = np.repeat(np.arange(len(counts)), counts), "abcd"[: len(counts)]
    keys = [str(row) for row in range(len(labels))]
    rows = few_labels(labels, names, keys, number, 0, "")
    found = np.bincount(labels[rows], minlength=len(counts))
    assert found.sum() == number
    assert found.min() >= 1
    assert rows.tolist() == few_labels(labels, names, keys, number, 0, "").tolist()
    assert abs(found - number * np.array(counts) / sum(counts)).max() < 2 + len(counts)
