"""COCO's mean average precision of instance masks, exact on any number of ranks.

Masks are stored and gathered as COCO's run-length codes, some hundred bytes each. The evaluation is that of
``lab.tasks.detection.metrics`` with the IoU of masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.metrics.coco import EvaluatedObjects, Overlaps, count_measured, evaluate_coco
from lab.metrics.gathered import RowsMetric, kept_rows, packed_rows
from lab.structures import NO_SEGMENT, Instances, SegmentationTruth

_SIDE = {
    "counts": torch.int64,
    "labels": torch.int64,
    "scores": torch.float64,
    "iscrowd": torch.bool,
    "area": torch.float64,
    "lengths": torch.int64,
    "codes": torch.uint8,
}
_STATES = {
    **dict.fromkeys(("image_ids", "heights", "widths"), ((0,), torch.int64)),
    **{f"{side}_{name}": ((0,), dtype) for side in ("true", "found") for name, dtype in _SIDE.items()},
}

_Code = dict[str, Any]
"""A run-length code as COCO writes it: ``size`` (height, width) and ``counts`` (bytes)."""
_CHUNK = 1 << 20
"""Pixels compared at a time: small enough for a core's cache."""
_LETTERS = 8
"""The most letters of a run: five bits each, of at most 2**38 pixels."""


class MaskMAP(RowsMetric):
    """Average precision and recall over mask IoU thresholds 0.50:0.05:0.95: ``map_segm``, ``map_50_segm``, ...

    A value is NaN if the truth does not define it (-1 in pycocotools).

    Args:
        class_names: the K names, in label order.
        thing_labels: the classes whose objects are evaluated; segments of other classes are ignored.

    Attributes:
        classes_measured: after ``compute``, the number of classes in the means: those with an object.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    states = _STATES

    def __init__(self, class_names: Sequence[str], thing_labels: Sequence[int]) -> None:
        super().__init__()
        self.class_names, self.thing_labels = tuple(class_names), frozenset(thing_labels)
        self.classes_measured = 0

    def update(
        self, predicted: Sequence[Instances], truth: SegmentationTruth, image_ids: Tensor, valid: Tensor
    ) -> None:
        """Add a batch.

        Args:
            predicted: the objects found in B images, in the stored sizes.
            truth: the truth of the same images; each segment of a thing is an object. Its mask is taken from ``codes``
                if there are any (these masks may overlap), otherwise from the map.
            image_ids: (B,) int64, one id for one image of the dataset.
            valid: (B,) bool, False for images that only pad the batch.
        """
        ids = image_ids.tolist()
        for row, counts in enumerate(valid.tolist()):
            if not counts:
                continue
            part, found = truth.rows(slice(row, row + 1)), predicted[row]
            size = part.sizes[0]
            things = torch.tensor([label in self.thing_labels for label in part.labels.tolist()], dtype=torch.bool)
            codes, area = _true_codes(part, things)
            self.add_image(
                ids[row],
                size,
                (codes, part.labels.cpu()[things], part.iscrowd.cpu()[things], area),
                (encode(found.masks.cpu()), found.labels.cpu(), found.scores.cpu()),
            )

    def add_image(
        self,
        image_id: int,
        size: tuple[int, int],
        truth: tuple[Sequence[bytes], Tensor, Tensor, Tensor],
        found: tuple[Sequence[bytes], Tensor, Tensor],
    ) -> None:
        """Add an image given the run-length codes of its masks, which may overlap.

        Args:
            image_id: the image's id.
            size: (height, width).
            truth: codes, labels, iscrowd and area of the T annotations; an area of 0 means that of the mask.
            found: codes, labels and scores of the N predictions.
        """
        codes, labels, iscrowd, area = truth
        self._append("true", codes, labels, torch.zeros(len(codes)), iscrowd, area)
        codes, labels, scores = found
        self._append("found", codes, labels, scores, torch.zeros(len(codes)), torch.zeros(len(codes)))
        numbers = {"image_ids": image_id, "heights": size[0], "widths": size[1]}
        self.keep({name: torch.tensor([value]) for name, value in numbers.items()}, self.device)

    def _append(
        self, side: str, codes: Sequence[bytes], labels: Tensor, scores: Tensor, iscrowd: Tensor, area: Tensor
    ) -> None:
        joined = np.frombuffer(b"".join(codes), dtype=np.uint8).copy()
        values = {
            "counts": torch.tensor([len(codes)]),
            "labels": labels,
            "scores": scores,
            "iscrowd": iscrowd,
            "area": area,
            "lengths": torch.tensor([len(code) for code in codes]),
            "codes": torch.from_numpy(joined),
        }
        self.keep({f"{side}_{name}": value for name, value in values.items()}, self.device)

    def compute(self) -> dict[str, float]:
        """Return COCO's twelve numbers, with ``_segm`` at the end of each name.

        Raises:
            DataError: if two images have the same id.
        """
        arrays = self.gathered()
        image_ids, order = kept_rows(arrays["image_ids"], np.ones(len(arrays["image_ids"]), dtype=bool))
        true, true_codes = _annotations(arrays, "true", order)
        found, codes = _annotations(arrays, "found", order)
        overlaps = _mask_overlaps(codes, true_codes, true.iscrowd)
        values = evaluate_coco(self.class_names, len(image_ids), true, found, overlaps)
        self.classes_measured = count_measured(values)
        return {f"{name}_segm": value for name, value in values.items() if "/" not in name}


def instance_masks(pixels: Tensor, num_segments: int, size: tuple[int, int]) -> Tensor:
    """Return the masks (n, h, w) bool of a packed map (h * w,) of segments."""
    assert NO_SEGMENT < 0
    return pixels.view(size) == torch.arange(num_segments, dtype=pixels.dtype)[:, None, None]


def _true_codes(truth: SegmentationTruth, things: Tensor) -> tuple[list[bytes], Tensor]:
    """Return codes and area of the chosen segments (T,) bool of one image."""
    if truth.codes is None:
        codes = encode(instance_masks(truth.pixels.cpu(), len(truth.labels), truth.sizes[0])[things])
    else:
        codes = [code for code, chosen in zip(truth.codes, things.tolist(), strict=True) if chosen]
    return codes, torch.zeros(len(codes)) if truth.area is None else truth.area.cpu()[things]


def encode(masks: Tensor) -> list[bytes]:
    """Return COCO's run-length code of each of the masks (n, h, w) bool.

    A code counts pixels down the columns. Where a pixel differs from the one above it is found row by row, as they are
    stored, and only these few places are brought into the order of columns.
    """
    if not len(masks):
        return []
    height, width = masks.shape[1:]
    pixels, size = masks.contiguous().numpy(), height * width
    step = max(1, _CHUNK // max(1, size))
    chunks = [_changes(pixels[first : first + step]) + first * size for first in range(0, len(pixels), step)]
    mask, place = np.divmod(np.concatenate(chunks), size)
    row, column = np.divmod(place, width)
    ends = np.sort(mask * (size + 1) + column * height + row)  # of runs; one more ends with the mask
    last = np.arange(len(masks)) * (size + 1) + size
    ends = np.insert(ends, np.searchsorted(ends, last), last)
    mask = ends // (size + 1)
    return _strings(ends - mask * (size + 1), mask, len(masks))


def _changes(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the places in masks (n, h, w) whose pixel differs from the one before it, down the columns."""
    changed = np.empty_like(masks)
    np.not_equal(masks[:, 1:], masks[:, :-1], out=changed[:, 1:])
    np.not_equal(masks[:, 0, 1:], masks[:, -1, :-1], out=changed[:, 0, 1:])
    changed[:, 0, :1] = masks[:, 0, :1]  # before the first pixel is nothing
    return np.flatnonzero(changed)


def _strings(ends: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], num_masks: int) -> list[bytes]:
    """Return the codes of masks whose runs end at ``ends`` (R,), as COCO's rleToString writes them.

    Each run, from the fourth on less the last but one, is written in groups of five bits, the lowest first.
    """
    starts = np.searchsorted(mask, np.arange(num_masks))
    number = np.arange(len(ends)) - starts[mask]
    runs = np.diff(ends, prepend=0)
    runs[starts] = ends[starts]
    left = runs.copy()
    later = np.flatnonzero(number > 2)
    left[later] -= runs[later - 2]
    letters, lengths = np.zeros((len(ends), _LETTERS), dtype=np.uint8), np.zeros(len(ends), dtype=np.int64)
    active = np.arange(len(ends))
    while len(active):
        bits = left[active] & 31
        left[active] >>= 5
        more = left[active] != np.where(bits & 16, -1, 0)
        letters[active, lengths[active]] = 48 + bits + 32 * more
        lengths[active] += 1
        active = active[more]
    joined = letters[np.arange(_LETTERS) < lengths[:, None]].tobytes()
    edges = np.append(0, np.cumsum(np.bincount(mask, lengths, num_masks).astype(np.int64))).tolist()
    return [joined[first:last] for first, last in pairwise(edges)]


def _annotations(
    arrays: dict[str, npt.NDArray[Any]], side: str, order: npt.NDArray[Any]
) -> tuple[EvaluatedObjects, list[_Code]]:
    """Return truth or prediction in the given order of images, and the code of each mask."""
    from faster_coco_eval.core import mask as coco_mask

    column = {name: arrays[f"{side}_{name}"] for name in _SIDE}
    image, rows = packed_rows(column["counts"], order)
    ends, codes = np.cumsum(column["lengths"])[rows], column["codes"].tobytes()
    starts = ends - column["lengths"][rows]
    sizes = np.stack([arrays["heights"], arrays["widths"]], 1)[order][image].tolist()
    kept: list[_Code] = [
        {"size": size, "counts": codes[start:end]}
        for size, start, end in zip(sizes, starts.tolist(), ends.tolist(), strict=True)
    ]
    area = column["area"][rows].copy()
    unknown = np.flatnonzero(area == 0)
    if len(unknown):
        area[unknown] = coco_mask.area([kept[place] for place in unknown.tolist()])
    return EvaluatedObjects(image, column["labels"][rows], area, column["iscrowd"][rows], column["scores"][rows]), kept


def _mask_overlaps(codes: list[_Code], true_codes: list[_Code], iscrowd: npt.NDArray[Any]) -> Overlaps:
    """Return the function that computes the IoU of masks."""
    from faster_coco_eval.core import mask as coco_mask

    def overlaps(
        rows: npt.NDArray[Any], true_rows: npt.NDArray[Any], counts: npt.NDArray[Any], true_counts: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        parts = (np.split(each, np.cumsum(number)[:-1]) for each, number in ((rows, counts), (true_rows, true_counts)))
        found = [np.zeros(0)]
        for some, others in zip(*parts, strict=True):
            groups = [codes[row] for row in some], [true_codes[row] for row in others]
            found.append(np.asarray(coco_mask.iou(*groups, iscrowd[others].astype(int).tolist())).ravel())
        return np.concatenate(found)

    return overlaps
