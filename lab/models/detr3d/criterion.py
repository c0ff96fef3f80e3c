"""DETR3D's loss: match queries to boxes one to one in every layer, then compare classes and codes.

Wang et al., "DETR3D", CoRL 2021, section 3.3: focal loss for the classes, L1 distance for the boxes. All layers are
matched with one copy of the costs to the host, and their losses are computed together. Terms are sums, to be divided by
the number of matched boxes. A box whose code is not finite (nuScenes does not know every velocity) takes part in the
matching and in the class term, not in the L1 term.

Names: L layers, B frames, Q queries, K classes, T boxes of all frames, M matched pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.models.detr3d.coder import CODE_SIZE, encode
from lab.ops.matching import match
from lab.ops.precision import full_precision
from lab.ranges import Flat, Len, NonNegative, Probability, Weight
from lab.structures import Term
from lab.structures.detection3d import Detection3dTargets

NUM_BOXES = "num_boxes"
MATCHED = 8
"""The numbers of a code that the matching compares: all but the velocity."""
_EPS = 1e-12


@dataclass(frozen=True)
class Detr3dLossOptions(Flat):
    """The numbers of DETR3D's matching and loss.

    Attributes:
        cost_class: weight of the class in the matching.
        cost_box: weight of the L1 distance in the matching.
        class_loss_weight: weight of the class term.
        box_loss_weight: weight of the L1 term.
        code_weights: weight of each of the ten numbers of a code in the L1 term.
        focal_alpha: weight of positives.
        focal_gamma: exponent that reduces the loss of easy examples.
    """

    cost_class: Weight = 2.0
    cost_box: Weight = 0.25
    class_loss_weight: Weight = 2.0
    box_loss_weight: Weight = 0.25
    code_weights: Annotated[Sequence[Weight], Len(10, 10)] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)
    focal_alpha: Probability = 0.25
    focal_gamma: NonNegative = 2.0


LOSS_OPTIONS = Detr3dLossOptions()
"""The published numbers."""


class Detr3dCriterion:
    """Set prediction loss.

    Args:
        num_queries: Q.
        options: weights of matching and terms.
    """

    def __init__(self, num_queries: int, options: Detr3dLossOptions = LOSS_OPTIONS) -> None:
        self.num_queries = num_queries
        self.options = options
        self.code_weights = tuple(float(weight) for weight in options.code_weights)
        assert len(self.code_weights) == CODE_SIZE

    def totals(self, targets: Detection3dTargets) -> dict[str, float]:
        """Return this batch's number of matched boxes, from host integers."""
        return {NUM_BOXES: float(sum(min(count, self.num_queries) for count in targets.counts))}

    def __call__(self, logits: Tensor, codes: Tensor, targets: Detection3dTargets) -> dict[str, Term]:
        """Return ``loss_cls`` and ``loss_bbox`` of the last layer, ``loss_cls_0`` and so on of the earlier ones.

        Args:
            logits: (L, B, Q, K).
            codes: (L, B, Q, 10), centres in metres.
            targets: the boxes of the B frames.
        """
        logits, codes = full_precision(logits), full_precision(codes)
        wanted = encode(full_precision(targets.boxes)).to(codes.dtype)
        counts = torch.tensor(targets.counts)
        frame = torch.arange(len(counts)).repeat_interleave(counts).to(codes.device, non_blocking=True)
        with torch.no_grad():
            costs = self.costs(logits, codes, targets.labels, wanted, frame)
        matched = match(costs, counts=targets.counts)[0]
        terms: dict[str, Term] = {}
        for name, values in self.sums(logits, codes, matched, targets.labels, wanted).items():
            *earlier, last = values.unbind(0)
            sums = {name: last, **{f"{name}_{index}": value for index, value in enumerate(earlier)}}
            terms |= {key: Term(value, NUM_BOXES) for key, value in sums.items()}
        return terms

    def costs(self, logits: Tensor, codes: Tensor, labels: Tensor, wanted: Tensor, frame: Tensor) -> Tensor:
        """Return (T, L, Q), the cost of assigning each box to each query of its frame.

        Args:
            logits: (L, B, Q, K).
            codes: (L, B, Q, 10).
            labels: (T,).
            wanted: (T, 10) codes of the boxes.
            frame: (T,) the frame of each box.
        """
        own = logits[:, frame, :, labels].sigmoid()  # separated advanced indices: (T, L, Q)
        alpha, gamma = self.options.focal_alpha, self.options.focal_gamma
        positive = -(own + _EPS).log() * alpha * (1 - own) ** gamma
        negative = -(1 - own + _EPS).log() * (1 - alpha) * own**gamma
        predicted = codes[:, frame, :, :MATCHED].transpose(0, 1)  # (T, L, Q, 8)
        distance = (predicted - wanted[:, None, None, :MATCHED]).abs().sum(-1)
        return self.options.cost_class * (positive - negative) + self.options.cost_box * distance

    def sums(
        self,
        logits: Tensor,
        codes: Tensor,
        matched: tuple[Tensor, Tensor, Tensor],
        labels: Tensor,
        wanted: Tensor,
    ) -> dict[str, Tensor]:
        """Return the weighted sums, each (L,), of all layers; ``matched`` has frame, query and box, each (L, M)."""
        frame, query, box = matched
        layer = torch.arange(len(logits), device=logits.device)[:, None]
        target = torch.zeros_like(logits)
        target[layer, frame, query, labels[box]] = 1.0
        by_class = focal_loss(logits, target, self.options.focal_alpha, self.options.focal_gamma).sum((1, 2, 3))
        known = wanted.isfinite().all(-1, keepdim=True)
        goal, known = torch.where(known, wanted, 0.0)[box], known[box]
        distance = (codes[layer, frame, query] - goal).abs() * known * codes.new_tensor(self.code_weights)
        return {
            "loss_cls": self.options.class_loss_weight * by_class,
            "loss_bbox": self.options.box_loss_weight * distance.sum((1, 2)),
        }


def focal_loss(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the elementwise focal loss of logits and targets in {0, 1}: Lin et al., "Focal Loss", 2017, equation 5."""
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = probability + target - 2 * probability * target
    return (alpha * target + (1 - alpha) * (1 - target)) * wrong**gamma * entropy
