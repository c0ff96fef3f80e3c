"""MaskFormer's loss and matching against the formulas written out image by image, and against values by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lab.models.maskformer.criterion import MaskCriterion, MaskLossOptions
from lab.ops.masks import mask_losses, sampled_mask_losses, uncertain_points
from lab.structures import NO_SEGMENT, SegmentationTargets
from lab.training.terms import divided

LAYERS, QUERIES, CLASSES, WIDTH = 3, 6, 4, 8
COUNTS = (3, 0, 8, 1)  # an image without any segment, and one with more segments than queries
SIZE, SMALL = (26, 34), (7, 9)


def scene() -> tuple[Tensor, Tensor, Tensor, SegmentationTargets]:
    random = np.random.RandomState(1)
    segments = torch.full((len(COUNTS), *SIZE), NO_SEGMENT, dtype=torch.int16)
    for index, count in enumerate(COUNTS):
        if count:
            cells = torch.from_numpy(random.permutation(np.arange(24) % (count + 1))).view(1, 1, 4, 6).float() - 1
            segments[index] = F.interpolate(cells, size=SIZE)[0, 0].to(torch.int16)
    segments[3, 20:] = NO_SEGMENT  # padding
    logits, embed = (
        torch.from_numpy(random.standard_normal((LAYERS, len(COUNTS), QUERIES, width))).float()
        for width in (CLASSES + 1, WIDTH)
    )
    features = torch.from_numpy(random.standard_normal((len(COUNTS), WIDTH, *SMALL))).float()
    labels = torch.from_numpy(random.randint(CLASSES, size=sum(COUNTS)))
    pixels = tuple(int((item >= 0).sum()) for item in segments)
    sizes = torch.tensor([SIZE] * 3 + [(20, SIZE[1])]).float()
    return logits, embed, features, SegmentationTargets(segments, labels, COUNTS, pixels, sizes)


def pair_losses(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Focal loss (mean over the pixels) and dice loss (n,) of masks and truths (n, h, w), as the papers write them."""
    x, y = logits.flatten(1), truth.flatten(1).to(logits.dtype)
    probability = x.sigmoid()
    right = probability * y + (1 - probability) * (1 - y)
    entropy = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    focal = ((0.25 * y + 0.75 * (1 - y)) * (1 - right) ** 2 * entropy).mean(1)
    return focal, 1 - (2 * (probability * y).sum(1) + 1) / (probability.sum(1) + y.sum(1) + 1)


def reference(logits: Tensor, embed: Tensor, features: Tensor, targets: SegmentationTargets) -> list[Tensor]:
    """The three terms of one layer, image by image and pair by pair."""
    from scipy.optimize import linear_sum_assignment

    classes = torch.full(logits.shape[:2], CLASSES)
    focal_sum, dice_sum = logits.new_zeros(()), logits.new_zeros(())
    first = 0
    for index, count in enumerate(targets.counts):
        labels = targets.labels[first : first + count]
        first += count
        if count == 0:
            continue
        masks = torch.einsum("qe,ehw->qhw", embed[index], features[index])
        truth = torch.stack([targets.segments[index] == number for number in range(count)])
        small = F.interpolate(truth[None].float(), size=SMALL, mode="nearest")[0]
        cost = torch.zeros(QUERIES, count)
        for query in range(QUERIES):
            focal, dice = pair_losses(masks[query].detach().expand(count, *SMALL), small)
            cost[query] = 20 * focal + dice - logits[index, query].detach().softmax(-1)[labels]
        rows, columns = linear_sum_assignment(cost.numpy())
        classes[index, rows] = labels[columns]
        full = F.interpolate(masks[None], size=SIZE, mode="bilinear", align_corners=False)[0]
        focal, dice = pair_losses(full[rows], truth[columns])
        focal_sum, dice_sum = focal_sum + focal.sum(), dice_sum + dice.sum()
    weight = torch.tensor([1.0] * CLASSES + [0.1], dtype=logits.dtype)
    entropy = F.cross_entropy(logits.transpose(1, 2), classes, weight)
    return [entropy, 20 * focal_sum / sum(targets.counts), dice_sum / sum(targets.counts)]


def terms_of(criterion: MaskCriterion, logits: Tensor, embed: Any, masks: Tensor, targets: SegmentationTargets) -> Any:
    """The terms of a batch that is a part of nothing."""
    return divided(criterion(logits, embed, masks, targets), criterion.totals(targets))


NAMES = ("loss_ce", "loss_mask", "loss_dice")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_terms_and_gradients_equal_the_formulas(dtype: torch.dtype, tolerance: float) -> None:
    *parts, targets = scene()
    logits, embed, features = (item.to(dtype).requires_grad_() for item in parts)
    terms = terms_of(MaskCriterion(QUERIES, CLASSES), logits, embed, features, targets)
    leaves = (logits, embed, features)
    mine = torch.autograd.grad(sum(terms.values()), leaves)  # type: ignore[arg-type]
    expected = [reference(logits[index], embed[index], features, targets) for index in range(LAYERS)]
    for index, values in enumerate(expected):
        for name, value in zip(NAMES, values, strict=True):
            term = terms[name if index == LAYERS - 1 else f"{name}_{index}"]
            torch.testing.assert_close(term, value, rtol=tolerance, atol=tolerance / 10)
    theirs = torch.autograd.grad(sum(sum(values) for values in expected), leaves)  # type: ignore[misc, arg-type]
    for own, other in zip(mine, theirs, strict=True):
        assert own.dtype == dtype
        assert float((own - other).abs().max() / other.abs().max()) < tolerance  # worst 2.4e-7, 5.8e-16


def test_values_by_hand() -> None:
    """Logits of 0 against a mask of half of the pixels, and no-object for all queries of an empty image."""
    segments = torch.full((2, 4, 8), NO_SEGMENT, dtype=torch.int16)
    segments[0, :, :4] = 0
    targets = SegmentationTargets(segments, torch.tensor([1]), (1, 0), (16, 0), torch.tensor([[4.0, 8.0]] * 2))
    criterion = MaskCriterion(2, 3)
    assert criterion.totals(targets) == {"num_masks": 1.0, "class_weight": pytest.approx(1 + 0.1 * 3)}
    terms = terms_of(criterion, torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 2, 5), torch.ones(2, 5, 1, 2), targets)
    # Each pixel: alpha * (1/2)^2 * ln 2, half of them with alpha 0.25 and half with 0.75.
    assert float(terms["loss_mask"]) == pytest.approx(20 * 0.5 * 0.25 * math.log(2))
    # p = 1/2 on 32 pixels, 16 of them inside: 1 - (2 * 8 + 1) / (16 + 16 + 1).
    assert float(terms["loss_dice"]) == pytest.approx(1 - 17 / 33)
    assert float(terms["loss_ce"]) == pytest.approx(math.log(4))


def test_a_batch_without_segments_has_a_loss_and_gradients() -> None:
    logits, embed, features, targets = scene()
    nothing = targets.rows(slice(1, 2))
    leaves = [item[:, 1:2].clone().requires_grad_() for item in (logits, embed)] + [
        features[1:2].clone().requires_grad_()
    ]
    terms = terms_of(MaskCriterion(QUERIES, CLASSES), *leaves, nothing)
    torch.stack(list(terms.values())).sum().backward()
    assert float(terms["loss_mask"].detach()) == float(terms["loss_dice"].detach()) == 0
    expected = -logits[:, 1].log_softmax(-1)[..., -1].mean(-1)
    torch.testing.assert_close(torch.stack([terms["loss_ce_0"], terms["loss_ce_1"], terms["loss_ce"]]), expected)
    assert all(item.grad is not None for item in leaves)


def test_terms_of_parts_add_up_to_those_of_the_batch() -> None:
    logits, embed, features, targets = scene()
    criterion = MaskCriterion(QUERIES, CLASSES)
    totals = criterion.totals(targets)
    whole = terms_of(criterion, logits, embed, features, targets)
    parts = [slice(0, 2), slice(2, 4)]
    shares = [criterion.totals(targets.rows(part)) for part in parts]
    assert {key: sum(share[key] for share in shares) for key in totals} == pytest.approx(totals)
    split = [divided(criterion(logits[:, p], embed[:, p], features[p], targets.rows(p)), totals) for p in parts]
    for name, value in whole.items():
        torch.testing.assert_close(sum(item[name] for item in split), value)


def test_logits_in_place_of_codes_give_the_same() -> None:
    logits, embed, features, targets = scene()
    criterion = MaskCriterion(QUERIES, CLASSES)
    masks = torch.einsum("bqe,behw->bqhw", embed[-1], features)
    mine = terms_of(criterion, logits[-1:], None, masks, targets)
    expected = terms_of(criterion, logits[-1:], embed[-1:], features, targets)
    torch.testing.assert_close(mine, expected)


def test_a_query_too_many_or_a_worse_mask_is_seen() -> None:
    """Mutants of the formulas: without dice in the matching, without nearest, with another no-object weight."""
    scene_ = scene()
    terms = terms_of(MaskCriterion(QUERIES, CLASSES), *scene_)
    for changes in ({"cost_mask": 0.0}, {"no_object_weight": 1.0}, {"mask_loss_weight": 1.0}):
        other = terms_of(MaskCriterion(QUERIES, CLASSES, MaskLossOptions(**changes)), *scene_)
        assert any(abs(float(terms[name] - other[name])) > 1e-3 for name in terms), changes


class LiveBytes(TorchDispatchMode):
    """The most bytes of tensors that operators have made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        import weakref

        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, tuple | list) else (out,):
            if isinstance(item, Tensor):
                storage = item.untyped_storage()
                if storage._cdata not in self.seen:
                    self.seen.add(storage._cdata)
                    self.live += storage.nbytes()
                    self.peak = max(self.peak, self.live)
                    weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
        return out

    def gone(self, key: int, nbytes: int) -> None:
        self.seen.discard(key)
        self.live -= nbytes


def test_peak_memory_is_a_third_at_most_and_gradients_are_equal() -> None:
    """2 x 640 x 640 and 23 masks on six layers, at a fifth of the sides: chunks shrink alike."""
    height = width = 128
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(0, 12, (2, 1, 8, 8), generator=generator).float()
    segments = F.interpolate(cells, size=(height, width))[:, 0].to(torch.int16)
    image = torch.tensor([0] * 12 + [1] * 11).repeat(6)
    number = torch.cat((torch.arange(12), torch.arange(11))).repeat(6)
    logits = 2 * torch.randn(len(image), height // 4, width // 4, generator=generator)
    upstream = torch.rand(2, len(image), generator=generator)
    found = []
    for form in ("straightforward", "ours"):
        leaf = logits.clone().requires_grad_()
        with LiveBytes() as memory:
            if form == "ours":
                losses = mask_losses(leaf, segments, image, number, chunk_pixels=2 * height * width)
            else:
                truth = (segments[image] == number[:, None, None]).float()
                full = F.interpolate(leaf[None], size=(height, width), mode="bilinear", align_corners=False)[0]
                losses = pair_losses(full, truth)
            (losses[0] * upstream[0] + losses[1] * upstream[1]).sum().backward()
        found.append((memory.peak, torch.stack(losses).detach(), leaf.grad))
    assert found[1][0] < found[0][0] / 3  # measured: see lab/models/maskformer/README.md
    torch.testing.assert_close(found[1][1], found[0][1])
    assert float((found[1][2] - found[0][2]).abs().max() / found[0][2].abs().max()) < 1e-5


def test_chunks_change_nothing() -> None:
    _, embed, features, targets = scene()
    masks = torch.einsum("qe,ehw->qhw", embed[0, 2], features[2])
    where = (targets.segments, torch.full((QUERIES,), 2), torch.arange(QUERIES))
    whole, parts = mask_losses(masks, *where), mask_losses(masks, *where, chunk_pixels=1)
    torch.testing.assert_close(whole, parts)


def test_points_estimate_the_losses_of_all_pixels() -> None:
    """Without importance a sample's mean is that of the pixels; with it points crowd where masks are undecided."""
    torch.manual_seed(0)
    height, width = 64, 48
    rows = torch.arange(height)[:, None].expand(height, width)
    segments = (rows >= 24).to(torch.int16)[None]
    logits = ((torch.arange(16)[:, None].expand(16, 12) - 6.5) / 2)[None].repeat(2, 1, 1)
    where = (segments, torch.zeros(2, dtype=torch.int64), torch.tensor([1, 0]))
    points = uncertain_points(logits, 400)
    crowded = ((points[..., 1] * 16 - 7).abs() < 2).float().mean()
    assert points.shape == (2, 400, 2)
    assert float(crowded) > 0.6  # uniform: 0.25
    exact = torch.stack(mask_losses(logits, *where))
    leaf = logits.clone().requires_grad_()
    sampled = torch.stack(sampled_mask_losses(leaf, *where, num_points=4000))
    sampled.sum().backward()
    assert leaf.grad is not None
    # The wrong mask costs more than the right one by every measure, and undecided points cost more than the mean one.
    assert (sampled[:, 1] > sampled[:, 0]).all()
    assert float(sampled[0, 0]) > float(exact[0, 0])
    criterion = MaskCriterion(QUERIES, CLASSES, MaskLossOptions(num_points=50))
    assert all(torch.isfinite(value) for value in terms_of(criterion, *scene()).values())


def test_points_are_sampled_in_training_only() -> None:
    import lab

    torch.manual_seed(0)
    net = lab.create_model("maskformer_tiny", num_classes=3, num_points=16)
    segments = torch.zeros(1, 64, 64, dtype=torch.int16)
    segments[:, :, 32:] = 1
    targets = SegmentationTargets(segments, torch.tensor([0, 2]), (2,), (64 * 64,), torch.tensor([[64.0, 64.0]]))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        trained = [net.loss(net(images), targets)["loss_mask"].sum for _ in range(2)]
        net.eval()
        evaluated = [net.loss(net(images), targets)["loss_mask"].sum for _ in range(2)]
    assert trained[0] != trained[1]
    assert evaluated[0] == evaluated[1]


@pytest.mark.parametrize("num_points", [0, 64])
def test_the_loss_is_computed_in_float32_under_autocast(num_points: int) -> None:
    logits, embed, features, targets = scene()
    criterion = MaskCriterion(QUERIES, CLASSES, MaskLossOptions(num_points=num_points))
    found = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(criterion(logits, embed, features, targets, sample=True))
    for name, term in found[0].items():
        assert found[1][name].sum.dtype == torch.float32
        assert torch.equal(found[1][name].sum, term.sum), name
