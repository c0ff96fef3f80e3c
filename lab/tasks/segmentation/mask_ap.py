"""COCO's mean average precision of instance masks, exact on any number of ranks.

Masks are stored and gathered as COCO's run-length codes, some hundred bytes each. The evaluation is that of
``lab.tasks.detection.metrics`` with the IoU of masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.metrics.coco import count_measured, evaluate_coco
from lab.metrics.gathered import RowsMetric, kept_rows
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
        sizes = list(zip(arrays["heights"].tolist(), arrays["widths"].tolist(), strict=True))
        images = [
            {"id": number, "height": sizes[row][0], "width": sizes[row][1]}
            for number, row in zip(image_ids.tolist(), order.tolist(), strict=True)
        ]
        true, found = (_annotations(arrays, side, order, sizes) for side in ("true", "found"))
        values = evaluate_coco(self.class_names, images, true, found, "segm")
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
    """Return COCO's run-length code of each of the masks (n, h, w) bool."""
    from faster_coco_eval.core import mask as coco_mask

    if not len(masks):
        return []
    columns = np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8))
    return [code["counts"] for code in coco_mask.encode(columns)]


def _annotations(
    arrays: dict[str, npt.NDArray[Any]], side: str, order: npt.NDArray[Any], sizes: list[tuple[int, int]]
) -> list[dict[str, Any]]:
    """Return COCO's annotation dicts of truth or prediction, in the given order of images; ids and classes from 1."""
    column = {name: arrays[f"{side}_{name}"] for name in _SIDE}
    starts = np.cumsum(column["counts"]) - column["counts"]
    ends = np.cumsum(column["lengths"])
    codes = column["codes"].tobytes()
    result: list[dict[str, Any]] = []
    for row in order.tolist():
        for place in range(starts[row], starts[row] + column["counts"][row]):
            code = codes[ends[place] - column["lengths"][place] : ends[place]]
            area = float(column["area"][place]) or _area(code, sizes[row])
            result.append(
                {
                    "id": len(result) + 1,
                    "image_id": int(arrays["image_ids"][row]),
                    "category_id": int(column["labels"][place]) + 1,
                    "segmentation": {"size": list(sizes[row]), "counts": code},
                    "area": area,
                    "iscrowd": int(column["iscrowd"][place]),
                    **({"score": float(column["scores"][place])} if side == "found" else {}),
                }
            )
    return result


def _area(code: bytes, size: tuple[int, int]) -> float:
    from faster_coco_eval.core import mask as coco_mask

    return float(coco_mask.area({"size": list(size), "counts": code}))
