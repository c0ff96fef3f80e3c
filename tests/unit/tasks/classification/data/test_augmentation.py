"""What is drawn for training images, how it travels, and that it is the same however a batch is cut."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from lab.errors import ConfigError
from lab.ops.augmentation import neighbours
from lab.ops.images import normalize_images
from lab.structures.classification import ClassificationBatch
from lab.tasks.classification.criterion import Criterion
from lab.tasks.classification.data.augmentation import (
    AugmentationOptions,
    augmented_pixels,
    erased_and_mixed,
    mixed_targets,
)
from lab.tasks.classification.data.cifar import CifarDataModule
from lab.tasks.classification.data.folder import ImageFolderModule
from lab.tasks.classification.data.idx import IdxDataModule
from lab.tasks.classification.data.policies import OPERATIONS
from lab.tasks.classification.data.shapes import ShapesDataModule
from lab.tasks.classification.settings import conflict, odd_pairs
from tests.unit.tasks.classification.data.test_idx import TEST, TRAIN
from tests.unit.tasks.classification.makers import make_cifar10, make_folder, make_mnist

ALL = {"policy": "rand_augment", "num_ops": 3, "erase": 0.5, "mixup": 0.5, "cutmix": 1.0}


def shapes(**options: Any) -> ShapesDataModule:
    known = {"image_size": 32, "max_side": 24, "num_val": 4, "num_test": 4, "num_train": 48, "batch_size": 16}
    return ShapesDataModule(**{**known, "augmentation": ALL, **options})


def pixels_and_targets(batch: ClassificationBatch) -> tuple[torch.Tensor, torch.Tensor]:
    images = erased_and_mixed(normalize_images(augmented_pixels(batch)), batch)
    return images, mixed_targets(batch, 4).labels


def test_all_is_off_by_default() -> None:
    options, generator = AugmentationOptions(), torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert options.draw((8, 8), generator) is None
    assert torch.equal(generator.get_state(), before)
    assert not AugmentationOptions(mixup=0.2, mix_prob=0).is_on
    assert shapes(augmentation=None).first_batch().augmentation is None


def test_every_dataset_has_the_same_options(tmp_path: Path) -> None:
    make_folder(tmp_path / "folder", {f"{split}/{name}": 4 for split in ("train", "val") for name in "ab"})
    split = {part: {"images": part} for part in ("train", "val")}
    for data in (
        IdxDataModule(str(make_mnist(tmp_path / "idx")), TRAIN, TEST, batch_size=4, augmentation=ALL),
        CifarDataModule(str(make_cifar10(tmp_path / "cifar")), batch_size=4, augmentation=ALL),
        ImageFolderModule(str(tmp_path / "folder"), **split, batch_size=4, image_size=16, augmentation=ALL),
        shapes(batch_size=4),
    ):
        found = data.first_batch().augmentation
        assert found is not None
        assert found.operations.shape == found.magnitudes.shape == (4, 3)
        assert (found.erased.shape, found.mixed.shape) == ((4, 4), (4, 5))
        assert data.dataset("val")[0, 0].augmentation is None
        images, labels = pixels_and_targets(data.first_batch()) if data.spec.num_classes == 4 else (None, None)
        assert images is None or (images.shape[0] == 4 and labels.shape == (4, 4))


def test_a_batch_is_the_same_however_it_is_cut() -> None:
    """On two ranks, in two micro-batches, and from the second step on, as after a resume."""
    data = shapes()

    def of_step(step: int, rank: int = 0, **plan: int) -> list[torch.Tensor]:
        data.plan = replace(data.plan, max_steps=3, start_step=step, rank=rank, **plan)
        stream = iter(data.train_dataloader())
        return [torch.cat(parts) for parts in zip(*map(pixels_and_targets, (next(stream), next(stream))), strict=True)]

    two_steps = of_step(1, world_size=1, accumulate=1)
    halves = [of_step(1, rank, world_size=2, accumulate=2) for rank in (0, 1)]
    for whole, first, second in zip(two_steps, *halves, strict=True):
        joined = torch.cat([first[:4], second[:4], first[4:], second[4:]])  # each micro-batch: a part of each rank
        assert torch.equal(joined, whole[:16])
    assert torch.equal(of_step(0, world_size=1, accumulate=1)[0][16:], two_steps[0][:16])
    assert not torch.equal(two_steps[0][:16], two_steps[0][16:])


def test_rows_of_a_batch_keep_what_is_done_to_them() -> None:
    batch = shapes().first_batch()
    whole, parts = pixels_and_targets(batch), [pixels_and_targets(batch.rows(slice(row, row + 6))) for row in (0, 6)]
    for index in (0, 1):
        assert torch.equal(torch.cat([part[index] for part in parts]), whole[index][:12])
    assert batch.to("meta").augmentation.mixed.device.type == "meta"
    assert augmented_pixels(batch.to("meta")).shape == batch.images.shape


def test_operations_are_drawn_about_equally() -> None:
    for policy, each in (("rand_augment", 2), ("trivial_augment", 1)):
        options = AugmentationOptions(policy=policy)
        drawn = [options.draw((32, 32), torch.Generator().manual_seed(seed)).operations for seed in range(2800)]
        counts = Counter(code for operations in drawn for code, _ in operations)
        expected = 2800 * each / len(OPERATIONS)
        assert sum((counts[code] - expected) ** 2 / expected for code in range(14)) < 34.5  # chi-square, 13 df, p 0.001
        strengths = {value for operations in drawn for code, value in operations if OPERATIONS[code] == "rotate"}
        assert len(strengths) == 2 if each == 2 else len(strengths) > 50  # of 61


def test_pairs_are_neighbours() -> None:
    assert neighbours(torch.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]
    assert neighbours(torch.arange(5)).tolist() == [1, 0, 3, 2, 4]
    assert neighbours(torch.arange(1)).tolist() == [0]


def test_chances_of_mixing() -> None:
    options = AugmentationOptions(mixup=1.0, cutmix=1.0, mix_prob=0.8, switch_prob=0.25)
    drawn = [options.draw((64, 64), torch.Generator().manual_seed(seed)).mixed for seed in range(2000)]
    cut, plain = sum(part[3] > 0 for part in drawn), sum(part[0] == 1 and not part[3] for part in drawn)
    assert cut == pytest.approx(2000 * 0.8 * 0.25, abs=60)  # 3 deviations
    assert plain == pytest.approx(2000 * 0.2, abs=60)


def test_the_loss_of_mixed_images_is_the_mixed_loss() -> None:
    """With weights and smoothing: lambda loss(own label) + (1 - lambda) loss(partner's), by torch for whole labels."""
    batch = shapes(augmentation={"mixup": 1.0, "cutmix": 1.0}).first_batch()
    logits, weights = torch.randn(16, 4, dtype=torch.float64), [0.5, 2.0, 1.0, 0.25]
    own, share = batch.targets.labels, batch.augmentation.mixed[:, 0].double()
    other = own.view(8, 2).flip(1).flatten()
    targets = mixed_targets(batch, 4)
    assert targets.labels.dtype == torch.float32
    torch.testing.assert_close(targets.labels.sum(1), torch.ones(16))
    assert 4 < int((targets.labels > 0).sum(1).eq(2).sum()) <= 16
    criterion = Criterion("cross_entropy", 0.1, weights).double()
    options = {"weight": torch.tensor(weights).double(), "reduction": "none", "label_smoothing": 0.1}
    each = [functional.cross_entropy(logits, labels, **options) for labels in (own, other)]
    expected = (share * each[0] + (1 - share) * each[1]).sum()
    torch.testing.assert_close(criterion(logits, targets)["loss_ce"].sum, expected, rtol=1e-6, atol=0)  # float32 shares
    binary = Criterion("binary_cross_entropy", 0.1, weights).double()
    truth = functional.one_hot(own, 4) * share[:, None] + functional.one_hot(other, 4) * (1 - share[:, None])
    smooth, chance = truth * 0.9 + 0.05, logits.sigmoid()
    by_hand = -(smooth * chance.log() + (1 - smooth) * (1 - chance).log()) * torch.tensor(weights).double()
    torch.testing.assert_close(binary(logits, targets)["loss_bce"].sum, by_hand.sum(), rtol=1e-6, atol=0)
    wrong = functional.cross_entropy(logits, targets.labels.double(), **{**options, "weight": None}).sum()
    assert not math.isclose(wrong, expected, rel_tol=1e-3)  # a mutant without weights is seen


def test_several_labels_are_mixed_as_they_are() -> None:
    batch = shapes(augmentation={"mixup": 1.0}).first_batch()
    several = torch.randint(0, 2, (16, 4)).float()
    mixed = mixed_targets(replace(batch, targets=replace(batch.targets, labels=several)), 4).labels
    share = batch.augmentation.mixed[:, :1]
    torch.testing.assert_close(mixed, share * several + (1 - share) * several.view(8, 2, 4).flip(1).flatten(0, 1))


def test_what_is_erased_is_the_mean_colour() -> None:
    batch = shapes(augmentation={"erase": 1.0}).first_batch()
    images = erased_and_mixed(normalize_images(batch.images), batch)
    for image, (top, left, tall, wide) in zip(images, batch.augmentation.erased.tolist(), strict=True):
        box = image[:, top : top + tall, left : left + wide]
        assert not box.any()
        assert int((image == 0).all(0).sum()) == box[0].numel()


def config(batch_size: Any, strategy: str = "ddp", devices: int = 1, accumulate: int = 1, **options: Any) -> Mapping:
    return {
        "stage": "fit",
        "data": {"batch_size": batch_size, "augmentation": options},
        "strategy": {"name": strategy, "tensor_parallel_size": None},
        "trainer": {"devices": devices, "num_nodes": 1, "accumulate_grad_batches": accumulate},
    }


def test_pairs_that_would_be_cut_are_refused() -> None:
    for asked in (
        config(15, mixup=0.2),
        config(12, devices=2, accumulate=2, cutmix=1.0),
        config(10, strategy="dp", devices=2, mixup=1.0),
    ):
        key, why = odd_pairs(asked)
        assert key == "data.batch_size"
        assert "mixes images by pairs, and each rank gets" in why
    for asked in (
        config(16, devices=2, accumulate=4, mixup=0.2),
        config(15),
        config(15, mixup=1.0, mix_prob=0),
        config(6, strategy="tensor_parallel", devices=4, mixup=1.0),
    ):
        assert odd_pairs(asked) is None
    assert conflict({**config(15, mixup=0.2), "model": {}, "stage": "test"}) is None
    refused = ("data.augmentation.mixup", "beside unlabelled images there are flips and shifts alone; leave it out")
    asked = config(16, mixup=0.2)
    assert conflict({**asked, "model": {"learning": {"method": "mixmatch"}}}) == refused
    assert conflict({**asked, "model": {}, "data": {**asked["data"], "unlabelled": 1}}) == refused
    assert conflict({**asked, "model": {}}) is None
    with pytest.raises(ConfigError, match=r"^data\.augmentation: mixup and cutmix mix pairs of images, and 3 are read"):
        mixed_targets(shapes(batch_size=3).first_batch(), 4)


def test_values_stay_on_the_host() -> None:
    """So that no kernel waits for the device to say which images it is for."""
    augmentation = shapes().first_batch().augmentation
    assert isinstance(augmentation.operations, np.ndarray)
    assert isinstance(augmentation.magnitudes, np.ndarray)
