"""Augmentation in batches against torchvision's, image by image: every operation, erasing, mixup and CutMix."""

from __future__ import annotations

import math
import random
from itertools import repeat

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lab.ops import augmentation as kernels
from lab.tasks.classification.data.augmentation import AugmentationOptions
from lab.tasks.classification.data.policies import NUM_BINS, OPERATIONS, apply_operations, draw_operations, magnitudes

v2 = pytest.importorskip("torchvision.transforms.v2")
POLICIES = {"rand_augment": v2.RandAugment(), "trivial_augment": v2.TrivialAugmentWide()}
THEIRS = dict(zip(OPERATIONS, POLICIES["rand_augment"]._AUGMENTATION_SPACE, strict=True))
SHEARS = ("shear_x", "shear_y")


def pictures(count: int, height: int, width: int) -> Tensor:
    """Return (count, 3, height, width) uint8: smooth colours with grain, one of a single colour, one of few values."""
    generator = torch.Generator().manual_seed(height * width)
    smooth = functional.interpolate(torch.rand(count, 3, 5, 5, generator=generator), (height, width), mode="bilinear")
    images = (smooth * 200 + 55 * torch.rand(count, 3, height, width, generator=generator)).to(torch.uint8)
    images[0], images[1] = 77, images[1] // 100 * 90
    return images


def torchvisions(image: Tensor, operation: str, magnitude: float) -> Tensor:
    policy = POLICIES["rand_augment"]
    return policy._apply_image_or_video_transform(
        image, THEIRS[operation], magnitude, interpolation=policy.interpolation, fill=policy._fill
    )


def apart(operation: str, policy: str, height: int, width: int) -> float:
    """Return the share of pixels that differ from torchvision's, over all magnitudes and both signs."""
    strengths = [sign * value for value in magnitudes(policy, operation, height, width) for sign in (1, -1)]
    if operation in ("posterize", "solarize"):
        strengths = strengths[::2]
    images = pictures(len(strengths), height, width)
    expected = torch.stack([torchvisions(*pair) for pair in zip(images, repeat(operation), strengths, strict=False)])
    codes = np.full((len(images), 1), OPERATIONS.index(operation))
    before = images.clone()
    found = apply_operations(images, codes, np.array(strengths)[:, None])
    assert torch.equal(images, before)
    return float((found != expected).any(1).float().mean())


@pytest.mark.parametrize("policy", POLICIES)
def test_operations_and_their_magnitudes_are_torchvisions(policy: str) -> None:
    space = POLICIES[policy]._AUGMENTATION_SPACE
    assert list(space) == list(THEIRS.values())
    for operation, name in THEIRS.items():
        numbers, signed = space[name]
        values = numbers(NUM_BINS, 48, 64)
        if values is not None:
            assert magnitudes(policy, operation, 48, 64) == tuple(values.tolist()), operation
        drawn = {
            math.copysign(1, magnitude)
            for seed in range(600)
            for code, magnitude in draw_operations(policy, 2, 9, (48, 64), random.Random(seed))
            if OPERATIONS[code] == operation and (magnitude or not signed)
        }
        assert drawn == ({1.0, -1.0} if signed else {1.0}), operation


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_operations_equal_torchvisions(operation: str, policy: str) -> None:
    for size in ((48, 64), (33, 29), (32, 32)):
        # Measured: all equal. Another CPU may round a shear's source that lies midway between two pixels to the other.
        assert apart(operation, policy, *size) <= (1e-3 if operation in SHEARS else 0.0), size


@pytest.mark.parametrize("policy", POLICIES)
def test_images_go_through_operations_of_their_own(policy: str) -> None:
    images = pictures(40, 24, 24)
    drawn = [draw_operations(policy, 3, 20, (24, 24), random.Random(seed)) for seed in range(40)]
    codes, strengths = (np.array([[pair[part] for pair in each] for each in drawn]) for part in (0, 1))
    found = apply_operations(images, codes, strengths)
    for image, each, result in zip(images, drawn, found, strict=True):
        for code, strength in each:
            image = torchvisions(image, OPERATIONS[code], strength)
        assert float((image != result).any(0).float().mean()) <= 0.01  # measured: 0; shears, as above
    assert codes.shape[1] == (3 if policy == "rand_augment" else 1)


@pytest.mark.parametrize("mutant", ["sign", "bits", "rounded", "centre"])
def test_the_comparison_sees_mutants(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    operation, module = {
        "sign": ("rotate", "warp"),
        "bits": ("posterize", "posterize"),
        "rounded": ("contrast", "_grey"),
        "centre": ("shear_y", "warp"),
    }[mutant]
    kernel = getattr(kernels, module)
    changed = {
        "sign": lambda images, matrices: kernel(images, matrices.mul(torch.tensor([1.0, -1, 1]))),
        "bits": lambda images, bits: kernel(images, bits - 1),
        "rounded": lambda images: images.float().mean(1, keepdim=True),
        "centre": lambda images, matrices: kernel(images, matrices.mul(torch.tensor([1.0, 1, 0]))),
    }[mutant]
    monkeypatch.setattr(kernels, module, changed)
    assert apart(operation, "rand_augment", 32, 32) > 0.05


def test_erasing_equals_torchvisions() -> None:
    """Boxes with torchvision's functional, and how they are drawn with its class: the same mean area and chance."""
    images = torch.rand(3, 3, 20, 30)
    boxes = torch.tensor([[2, 3, 4, 5], [0, 0, 0, 0], [15, 25, 5, 5]], dtype=torch.int16)
    for image, (top, left, tall, wide), found in zip(images, boxes.tolist(), kernels.erase(images, boxes), strict=True):
        assert torch.equal(found, v2.functional.erase(image, top, left, tall, wide, torch.zeros(3, 1, 1)))
    options = AugmentationOptions(erase=0.25)
    drawn = [options.draw((60, 40), torch.Generator().manual_seed(seed)).erased for seed in range(2000)]
    torch.manual_seed(0)
    theirs = [v2.RandomErasing(p=1).make_params([images[0].new_ones(3, 60, 40)]) for _ in range(1000)]
    boxes = np.array([box for box in drawn if box[2]], dtype=np.float64)
    assert len(boxes) / len(drawn) == pytest.approx(0.25, abs=0.03)  # 3 deviations
    expected = np.array([[each[key] for key in "ijhw"] for each in theirs], dtype=np.float64)
    for values, others in ((boxes[:, 2:].prod(1), expected[:, 2:].prod(1)), *zip(boxes.T, expected.T, strict=True)):
        deviation = math.hypot(values.std() / math.sqrt(len(values)), others.std() / math.sqrt(len(others)))
        assert abs(values.mean() - others.mean()) < 3.5 * deviation
    assert (boxes[:, 0] + boxes[:, 2]).max() <= 60
    assert (boxes[:, 1] + boxes[:, 3]).max() <= 40


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_equals_torchvisions(name: str) -> None:
    """Of two images torchvision mixes each with the other, as we do; one number for both, as it has it."""
    images, labels = torch.rand(2, 3, 20, 30), torch.tensor([1, 3])
    for seed in range(20):
        share, *box = AugmentationOptions(**{name: 1.0}).draw((20, 30), torch.Generator().manual_seed(seed)).mixed
        top, left, tall, wide = box
        transform = (v2.MixUp if name == "mixup" else v2.CutMix)(num_classes=5)
        told = {"lam": share, "lam_adjusted": share, "box": (left, top, left + wide, top + tall)}
        transform.make_params = lambda flat: told  # noqa: B023
        expected, shares = transform(images, labels)
        both = torch.tensor([share] * 2)
        found = kernels.mix(images, both, torch.tensor([box] * 2))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # worst measured: 6e-8
        torch.testing.assert_close(kernels.mix_labels(labels, both, 5), shares, rtol=0, atol=1e-6)
        if name == "cutmix":
            assert share == pytest.approx(1 - tall * wide / 600, abs=1e-12)
            assert 0 <= top <= top + tall <= 20
            assert 0 <= left <= left + wide <= 30


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_follow_their_beta_distribution(alpha: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    options = AugmentationOptions(mixup=alpha)
    shares = [options.draw((8, 8), torch.Generator().manual_seed(seed)).mixed[0] for seed in range(1500)]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert stats.kstest(shares, stats.beta(2 * alpha, alpha).cdf).pvalue < 1e-6  # a mutant is seen
    # CutMix's share is that of the area that is left once the box is cut off at the edges.
    cut = AugmentationOptions(cutmix=alpha)
    areas = np.array([cut.draw((40, 30), torch.Generator().manual_seed(seed)).mixed[0] for seed in range(1500)])
    torch.manual_seed(0)
    theirs = v2.CutMix(alpha=alpha, num_classes=2)
    expected = np.array([theirs.make_params([torch.empty(1, 3, 40, 30)])["lam_adjusted"] for _ in range(1500)])
    assert stats.ks_2samp(areas, expected).pvalue > 1e-3
