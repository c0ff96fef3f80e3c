"""What measures a model: AP of boxes, codes of masks, pixels of classes, ranks among all items.

Peers: faster-coco-eval, from its annotation dicts; its encoder of masks; NumPy's bincount of the classes of pixels; all
scores at once in plain torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.metrics.coco import EvaluatedObjects, box_areas, box_overlaps, evaluate_coco
from lab.structures import SegmentationTruth
from lab.tasks.recommendation.ranks import Ranking, rank_targets
from lab.tasks.segmentation.mask_ap import encode
from lab.tasks.segmentation.metrics import SemanticMetrics

Size = tuple[int, int]
Step = Callable[[], Any]
Made = tuple[Step, Step, float]


def box_ap_row(images: int, size: Size, device: torch.device) -> Made:
    """Box AP of ``images`` with size[0] detections each, a third near one of seven objects, of size[1] classes."""
    from faster_coco_eval import COCO, COCOeval_faster

    rng, (each, num_classes) = np.random.default_rng(0), size
    corners = rng.uniform(0, 500, (7 * images, 2))
    true = np.concatenate([corners, corners + rng.uniform(10, 200, (7 * images, 2))], 1).astype(np.float32)
    labels, home = rng.integers(0, num_classes, 7 * images), np.repeat(np.arange(images), 7)
    image = np.repeat(np.arange(images), each)
    near = 7 * image + rng.integers(0, 7, len(image))
    far = rng.permutation(len(true))[near % len(true)]
    hit = rng.uniform(size=len(image)) < 1 / 3
    found = (true[np.where(hit, near, far)] + rng.normal(0, 4, (len(image), 4))).astype(np.float32)
    kinds = np.where(hit, labels[near], rng.integers(0, num_classes, len(image)))
    nothing, scores = np.zeros(len(true), dtype=bool), rng.uniform(size=len(image)).astype(np.float32)
    sides = (
        EvaluatedObjects(home, labels, box_areas(true), nothing, np.zeros(len(true))),
        EvaluatedObjects(image, kinds, box_areas(found), np.zeros(len(image), dtype=bool), scores),
    )

    def ours() -> dict[str, float]:
        overlaps = box_overlaps(found, true, nothing)
        return evaluate_coco([str(label) for label in range(num_classes)], images, *sides, overlaps)

    def peer() -> Any:
        shared = {
            "images": [{"id": number} for number in range(images)],
            "categories": [{"id": label} for label in range(num_classes)],
        }
        dicts = (_dicts(side, boxes) for side, boxes in zip(sides, (true, found), strict=True))
        evaluation = COCOeval_faster(
            *(COCO({**shared, "annotations": side}) for side in dicts), iouType="bbox", print_function=lambda _: None
        )
        evaluation.run()
        return evaluation.stats

    return ours, peer, abs(ours()["map"] - float(peer()[0]))


def _dicts(side: EvaluatedObjects, boxes: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    sides = boxes.astype(np.float64)
    sides[:, 2:] -= sides[:, :2]
    columns = (side.image, side.labels, sides, side.area, side.scores)
    return [
        {
            "id": row + 1,
            "image_id": image,
            "category_id": label,
            "bbox": box,
            "area": area,
            "score": score,
            "iscrowd": 0,
        }
        for row, (image, label, box, area, score) in enumerate(zip(*(each.tolist() for each in columns), strict=True))
    ]


def mask_codes_row(masks: int, size: Size, device: torch.device) -> Made:
    """Run-length codes of ellipses."""
    from faster_coco_eval.core import mask as coco_mask

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: size[0], : size[1]]
    middle, radius = rng.uniform(0, size, (masks, 2)), rng.uniform(5, min(size) / 3, (masks, 2))
    distance = [
        ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2
        for (y, x), (height, width) in zip(middle, radius, strict=True)
    ]
    pixels = torch.from_numpy(np.stack(distance) < 1)

    def peer() -> list[bytes]:
        stored = np.asfortranarray(pixels.permute(1, 2, 0).numpy().astype(np.uint8))
        return [code["counts"] for code in coco_mask.encode(stored)]

    return lambda: encode(pixels), peer, float(encode(pixels) != peer())


def pixels_row(num_classes: int, size: Size, device: torch.device) -> Made:
    """The counts that mIoU needs, of 20 images of ten segments; one image takes a third of a millisecond."""
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 10, (16, 16)), np.ones((size[0] // 16, size[1] // 16), dtype=np.int16))
    classes, labels = rng.integers(0, num_classes, blocks.shape).astype(np.int16), rng.integers(0, num_classes, 10)
    metric = SemanticMetrics([str(label) for label in range(num_classes)])
    truth = SegmentationTruth(
        torch.from_numpy(blocks.astype(np.int16)).flatten(),
        torch.from_numpy(labels),
        torch.zeros(10, dtype=torch.bool),
        (10,),
        ((blocks.shape[0], blocks.shape[1]),),
    )
    found, valid = torch.from_numpy(classes), torch.tensor([True])

    def ours() -> None:
        for _ in range(20):
            metric.update([found], truth, valid)

    def peer() -> Any:
        counts = np.zeros((num_classes, num_classes), dtype=np.int64)
        for _ in range(20):
            pairs = labels[blocks.ravel()] * num_classes + classes.ravel()
            counts += np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
        return counts

    ours()
    return ours, peer, float(np.abs(metric.confusion.numpy() - peer()).max())


def ranking_row(queries: int, size: Size, device: torch.device) -> Made:
    """The ranks of targets among size[0] items of size[1] numbers each, and the best 20."""
    generator = torch.Generator().manual_seed(0)
    items, states = (torch.randn(count, size[1], generator=generator).to(device) for count in (size[0], queries))
    targets = torch.randint(1, size[0] + 1, (queries,), generator=generator).to(device)

    def score(rows: slice | Tensor, part: slice) -> Tensor:
        return states[rows] @ items[part.start - 1 : part.stop - 1].T

    def ours() -> Ranking:
        return rank_targets(score, targets, len(items), top=20)

    def peer() -> tuple[Tensor, Tensor]:
        scores = states @ items.T
        return (scores > scores.gather(1, targets[:, None] - 1)).sum(1), scores.topk(20).indices + 1

    (greater, best), mine = peer(), ours()
    gap = max(float((mine.greater - greater).abs().max()), float((mine.top_items != best).sum()))
    return ours, peer, gap
