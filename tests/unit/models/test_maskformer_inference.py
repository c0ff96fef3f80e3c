"""Post-processing against slow references that go query by query and pixel by pixel, as the authors' code does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lab import create_model
from lab.models.maskformer import inference
from lab.structures import NO_SEGMENT, MaskSegmenter, SegmentationTargets, Segmenter
from lab.training.terms import batch_terms

QUERIES, CLASSES = 12, 5
IMAGE = (24, 32)
SIZES = torch.tensor([[24.0, 32], [20, 30], [17, 32]])
ORIGINAL = torch.tensor([[24, 32], [40, 61], [9, 16]])  # as they are, larger, smaller
THINGS = (1, 3)


def outputs(scale: float = 3.0) -> tuple[Tensor, Tensor]:
    random = np.random.RandomState(3)
    classes = torch.from_numpy(random.standard_normal((3, QUERIES, CLASSES + 1))).float() * scale
    coarse = torch.from_numpy(random.standard_normal((3, QUERIES, 3, 4))).float() * 6
    return classes, F.interpolate(coarse, size=(6, 8), mode="bilinear")


def full_size(masks: Tensor, index: int, original: bool = True) -> Tensor:
    full = F.interpolate(masks[index][None], size=IMAGE, mode="bilinear", align_corners=False)
    height, width = SIZES[index].int().tolist()
    full = full[..., :height, :width]
    if original:
        full = F.interpolate(full, size=tuple(ORIGINAL[index].tolist()), mode="bilinear", align_corners=False)
    return full[0]


@pytest.mark.parametrize("chunk", [None, 1, 2000])
def test_semantic_equals_the_reference(chunk: int | None) -> None:
    classes, masks = outputs()
    found = inference.semantic(classes, masks, IMAGE, SIZES, ORIGINAL, chunk)
    for index in range(3):
        probability = full_size(masks, index, original=False).sigmoid()
        scores = torch.einsum("qc,qhw->chw", classes[index].softmax(-1)[:, :-1], probability)
        size = tuple(ORIGINAL[index].tolist())
        expected = F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0].argmax(0)
        assert found[index].dtype == torch.int16
        assert torch.equal(found[index].long(), expected)


def slow_panoptic(
    classes: Tensor, masks: Tensor, index: int, threshold: float, overlap: float
) -> tuple[Tensor, list[int]]:
    scores, labels = classes[index].softmax(-1).max(-1)
    kept = [q for q in range(QUERIES) if labels[q] != CLASSES and scores[q] > threshold]
    probability = full_size(masks, index).sigmoid()
    segments = torch.full(probability.shape[1:], NO_SEGMENT)
    if not kept:
        return segments, []
    owner = torch.stack([scores[q] * probability[q] for q in kept]).argmax(0)
    stuff: dict[int, int] = {}
    found: list[int] = []
    for number, query in enumerate(kept):
        label = int(labels[query])
        mine, area = owner == number, int((probability[query] >= 0.5).sum())
        if not mine.any() or area == 0 or int(mine.sum()) / area < overlap:
            continue
        if label not in THINGS and label in stuff:
            segments[mine] = stuff[label]
            continue
        if label not in THINGS:
            stuff[label] = len(found)
        segments[mine] = len(found)
        found.append(label)
    return segments, found


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize(("threshold", "overlap"), [(0.3, 0.3), (0.5, 0.8), (0.999, 0.8)])
def test_panoptic_equals_the_reference(threshold: float, overlap: float, chunk: int | None) -> None:
    classes, masks = outputs()
    found = inference.panoptic(classes, masks, IMAGE, SIZES, ORIGINAL, THINGS, threshold, overlap, chunk)
    counts = []
    for index in range(3):
        segments, labels = slow_panoptic(classes, masks, index, threshold, overlap)
        assert torch.equal(found[index].segments.long(), segments)
        assert found[index].labels.tolist() == labels
        assert found[index].scores.shape == (len(labels),)
        counts.append(len(labels))
    assert (max(counts) > 2) if threshold == 0.3 else max(counts) < 9
    if threshold == 0.999:
        assert counts == [0, 0, 0]


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("most", [5, 100])
def test_instances_equal_the_reference(most: int, chunk: int | None) -> None:
    classes, masks = outputs()
    found = inference.instances(classes, masks, IMAGE, SIZES, ORIGINAL, THINGS, most, chunk)
    for index in range(3):
        pairs = [(float(classes[index].softmax(-1)[q, k]), q, k) for q in range(QUERIES) for k in THINGS]
        logits = full_size(masks, index)
        expected = []
        for score, query, label in sorted(pairs, reverse=True)[:most]:
            inside = logits[query] > 0
            quality = float(logits[query].sigmoid()[inside].sum()) / (int(inside.sum()) + 1e-6)
            expected.append((score * quality, label, inside))
        expected.sort(key=lambda item: -item[0])
        best = found[index]
        torch.testing.assert_close(best.scores, torch.tensor([item[0] for item in expected]))
        for mask, label, (score, its_label, inside) in zip(best.masks, best.labels, expected, strict=True):
            if score > 0:  # those without a pixel are in no order
                assert int(label) == its_label
                assert torch.equal(mask, inside)


def test_no_things_no_instances() -> None:
    found = inference.instances(*outputs(), IMAGE, SIZES, ORIGINAL, ())
    assert [tuple(item.masks.shape) for item in found] == [(0, 24, 32), (0, 40, 61), (0, 9, 16)]


@pytest.mark.parametrize("name", ["maskformer_tiny", "per_pixel_tiny"])
def test_tiny_networks_speak_the_protocol_and_learn_a_batch(name: str) -> None:
    torch.manual_seed(0)
    net = create_model(name, num_classes=3)
    assert isinstance(net, Segmenter)
    assert isinstance(net, MaskSegmenter) == (name == "maskformer_tiny")
    segments = torch.full((2, 64, 64), NO_SEGMENT, dtype=torch.int16)
    segments[:, :32], segments[0, 32:, :32], segments[1, 40:60] = 0, 1, 1
    targets = SegmentationTargets(
        segments,
        torch.tensor([2, 0, 1, 2]),
        (2, 2),
        tuple(int((s >= 0).sum()) for s in segments),
        torch.full((2, 2), 64.0),
    )
    truth = torch.full((2, 64, 64), NO_SEGMENT)
    for index in range(2):
        for number in range(2):
            truth[index][segments[index] == number] = targets.labels[2 * index + number]
    images = torch.randn(2, 3, 64, 64) * 0.1 + truth[:, None]
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.stack(list(batch_terms(net, net(images), targets).values())).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    net.eval()
    with torch.no_grad():
        result = torch.stack(net.semantic(net(images), targets.sizes, targets.sizes))
    labelled = truth >= 0
    assert float((result[labelled] == truth[labelled]).float().mean()) > 0.9
    with torch.device("meta"):
        meta = create_model(name, num_classes=3)
        outputs_ = meta(torch.empty(1, 3, 50, 60))
    assert outputs_.image_size == (50, 60)
