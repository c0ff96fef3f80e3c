"""Turns classified masks into semantic maps, panoptic segments and instances, in pixels of the original images.

Cheng, Schwing, Kirillov, NeurIPS 2021, section 3.4: "semantic inference" sums class probabilities over the queries,
"general inference" gives each pixel to one query. Instances are those of Cheng et al., "Mask2Former", CVPR 2022,
appendix A: the best pairs of query and class, scored also by the mask's own mean probability.

Only a few masks at a time are resized to full resolution, so memory does not grow with queries times pixels. Nothing
waits for the device query by query.

Names: Q queries, K classes, h and w coarse pixels; H and W pixels of the padded images that the network saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.ops.precision import full_precision
from lab.structures import NO_SEGMENT, Instances, Segments

HeightWidth = tuple[int, int]
CPU_CHUNK = 1 << 22  # full-resolution pixels held at a time
GPU_CHUNK = 1 << 26


def resize(maps: Tensor, size: HeightWidth) -> Tensor:
    """Resize (N, h, w) to a size bilinearly; unchanged if they have it."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]


def chunks(masks: Tensor, size: HeightWidth, chunk_pixels: int | None) -> Iterator[Tensor]:
    """Yield the (N, h, w) masks in chunks whose length depends on ``size``."""
    budget = chunk_pixels or (CPU_CHUNK if masks.device.type == "cpu" else GPU_CHUNK)
    if len(masks):
        yield from masks.split(max(1, budget // max(1, size[0] * size[1])))


def to_original(logits: Tensor, image_size: HeightWidth, size: HeightWidth, original_size: HeightWidth) -> Tensor:
    """Resize logits (N, h, w) to the padded size, cut off the padding, and resize to the original size."""
    full = resize(logits, image_size)[:, : size[0], : size[1]]
    return resize(full, original_size)


def as_sizes(sizes: Tensor) -> list[HeightWidth]:
    """Return sizes (B, 2) as host integers."""
    return [(int(height), int(width)) for height, width in sizes.tolist()]


def semantic(
    class_logits: Tensor,
    mask_logits: Tensor,
    image_size: HeightWidth,
    sizes: Tensor,
    original_sizes: Tensor,
    chunk_pixels: int | None = None,
) -> list[Tensor]:
    """Return the most likely class of each pixel, (h0, w0) int16 in 0..K-1, for each image.

    As in the authors' code, scores are computed at the size of the network's input and then resized.

    Args:
        class_logits: (B, Q, K + 1).
        mask_logits: (B, Q, h, w).
        image_size: H and W.
        sizes: (B, 2) of the images without their padding.
        original_sizes: (B, 2) in which the result is wanted.
        chunk_pixels: the most full-resolution pixels of masks that are held at a time.
    """
    classes, masks = full_precision(class_logits).softmax(-1)[..., :-1], full_precision(mask_logits)
    results = []
    for index, (size, original) in enumerate(zip(as_sizes(sizes), as_sizes(original_sizes), strict=True)):
        parts = chunks(masks[index], image_size, chunk_pixels)
        scores = masks.new_zeros(classes.shape[-1], size[0] * size[1])
        first = 0
        for part in parts:
            probability = resize(part, image_size)[:, : size[0], : size[1]].sigmoid().flatten(1)
            scores.addmm_(classes[index, first : first + len(part)].T, probability)
            first += len(part)
        results.append(_best_class(scores.view(-1, *size), original, chunk_pixels))
    return results


def _best_class(scores: Tensor, size: HeightWidth, chunk_pixels: int | None) -> Tensor:
    """Return the class with the highest of the (K, h, w) scores at ``size``, the first one of equal scores, int16."""
    best: Tensor | None = None
    label = torch.zeros(size, dtype=torch.int16, device=scores.device)
    first = 0
    for part in chunks(scores, size, chunk_pixels):
        value, place = resize(part, size).max(0)
        place = (place + first).to(torch.int16)
        if best is None:
            best, label = value, place
        else:
            label = torch.where(value > best, place, label)
            best = torch.maximum(value, best)
        first += len(part)
    return label


def panoptic(
    class_logits: Tensor,
    mask_logits: Tensor,
    image_size: HeightWidth,
    sizes: Tensor,
    original_sizes: Tensor,
    thing_labels: Sequence[int],
    object_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
    chunk_pixels: int | None = None,
) -> list[Segments]:
    """Return, for each image, segments that do not overlap; arguments as in ``semantic``.

    Among the queries with a class probability above ``object_threshold``, each pixel is assigned to the one with the
    highest product of class and mask probability. A query that keeps less than ``overlap_threshold`` of its mask is
    dropped with its pixels. The remaining queries of one class of stuff form one segment with the best of their scores.

    Args:
        class_logits: (B, Q, K + 1).
        mask_logits: (B, Q, h, w).
        image_size: H and W.
        sizes: (B, 2) of the images without their padding.
        original_sizes: (B, 2) in which the result is wanted.
        thing_labels: the classes that are things.
        object_threshold: the smallest class probability.
        overlap_threshold: the smallest visible share of a mask.
        chunk_pixels: the most full-resolution pixels of masks that are held at a time.
    """
    masks = full_precision(mask_logits)
    scores, labels = full_precision(class_logits).softmax(-1).max(-1)
    num_classes = class_logits.shape[-1] - 1
    kept = (labels != num_classes) & (scores > object_threshold)
    is_thing = torch.zeros(num_classes, dtype=torch.bool, device=masks.device)
    is_thing[list(thing_labels)] = True
    results = []
    for index, (size, original) in enumerate(zip(as_sizes(sizes), as_sizes(original_sizes), strict=True)):
        chosen = kept[index].nonzero()[:, 0]
        score, label = scores[index, chosen], labels[index, chosen]
        owner = torch.zeros(original, dtype=torch.int64, device=masks.device)
        best = torch.full(original, -1.0, device=masks.device, dtype=masks.dtype)
        areas = [torch.zeros(0, dtype=torch.int64, device=masks.device)]
        first = 0
        for part in chunks(masks[index, chosen], image_size if image_size > original else original, chunk_pixels):
            probability = to_original(part, image_size, size, original).sigmoid()
            areas.append((probability >= 0.5).sum((1, 2)))
            value, place = (probability * score[first : first + len(part), None, None]).max(0)
            owner = torch.where(value > best, place + first, owner)
            best = torch.maximum(value, best)
            first += len(part)
        results.append(_segments(owner, torch.cat(areas), score, label, is_thing, overlap_threshold))
    return results


def _segments(
    owner: Tensor, areas: Tensor, scores: Tensor, labels: Tensor, is_thing: Tensor, overlap_threshold: float
) -> Segments:
    """Turn the owner (h, w) of each pixel among n queries into segments.

    Args:
        owner: (h, w) int64 in 0..n-1; meaningless if n is 0.
        areas: (n,) pixels of each mask, including pixels of other owners.
        scores: (n,).
        labels: (n,).
        is_thing: (K,) bool.
        overlap_threshold: the least visible part of a mask.
    """
    count = len(labels)
    if count == 0:
        empty = torch.full_like(owner, NO_SEGMENT, dtype=torch.int16)
        return Segments(empty, labels, scores.float())
    visible_area = owner.flatten().bincount(minlength=count)
    visible = (visible_area > 0) & (areas > 0) & (visible_area >= overlap_threshold * areas)
    query = torch.arange(count, device=owner.device)
    # Stuff joins the first visible query of its class; a thing is a segment of its own.
    group = torch.where(is_thing[labels], len(is_thing) + query, labels)
    first = ((group[:, None] == group) & visible).long().argmax(1)
    begins = visible & (first == query)
    number = begins.cumsum(0) - 1
    segment = torch.where(visible, number[first], NO_SEGMENT)
    best = scores.new_zeros(count).scatter_reduce(0, first, torch.where(visible, scores, 0.0), "amax")
    return Segments(segment.to(torch.int16)[owner], labels[begins], best[begins].float())


def instances(
    class_logits: Tensor,
    mask_logits: Tensor,
    image_size: HeightWidth,
    sizes: Tensor,
    original_sizes: Tensor,
    thing_labels: Sequence[int],
    max_instances: int = 100,
    chunk_pixels: int | None = None,
) -> list[Instances]:
    """Return, for each image, the best pairs of query and thing; arguments as in ``semantic``.

    Args:
        class_logits: (B, Q, K + 1).
        mask_logits: (B, Q, h, w).
        image_size: H and W.
        sizes: (B, 2) of the images without their padding.
        original_sizes: (B, 2) in which the result is wanted.
        thing_labels: the classes that are objects.
        max_instances: the most of an image.
        chunk_pixels: the most full-resolution pixels of masks that are held at a time.
    """
    masks = full_precision(mask_logits)
    things = torch.tensor(sorted(thing_labels), dtype=torch.int64, device=masks.device)
    pairs = full_precision(class_logits).softmax(-1)[..., things].flatten(1)  # (B, Q * things)
    scores, place = pairs.topk(min(max_instances, pairs.shape[1]), dim=1)
    query, label = place // max(1, len(things)), things[place % max(1, len(things))]
    results = []
    for index, (size, original) in enumerate(zip(as_sizes(sizes), as_sizes(original_sizes), strict=True)):
        found = [torch.zeros(0, *original, dtype=torch.bool, device=masks.device)]
        quality = [scores.new_zeros(0)]
        for part in chunks(masks[index, query[index]], image_size if image_size > original else original, chunk_pixels):
            logits = to_original(part, image_size, size, original)
            found.append(logits > 0)
            inside = found[-1].sum((1, 2))
            quality.append((logits.sigmoid() * found[-1]).sum((1, 2)) / (inside + 1e-6))
        score, order = (scores[index] * torch.cat(quality)).sort(descending=True, stable=True)
        results.append(Instances(torch.cat(found)[order], label[index][order], score.float()))
    return results
