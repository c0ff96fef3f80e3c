"""DETR's loss: match predictions to boxes one to one, then compare classes and boxes.

Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, sections 3.1 and 4 and appendix A.2. The
``sigmoid_focal`` classification is that of Meng et al., "Conditional DETR", ICCV 2021, section 4.1, and Liu et al.,
"DAB-DETR", ICLR 2022; groups of queries are those of Chen et al., "Group DETR", ICCV 2023.

All layers and groups are matched together, and their losses are computed together. The only wait for the device is one
copy of the costs for the matching. Terms are sums, to be divided by the number of boxes; the class term of ``softmax``
by the summed class weights of all queries.

Names: L layers, G groups, B images, Q queries of a group, K classes, T boxes of all images, M matched pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.ops.boxes import box_cxcywh_to_xyxy, image_index, normalize_boxes, paired_generalized_iou
from lab.ops.matching import match, pairwise_costs
from lab.ops.precision import full_precision
from lab.ranges import Flat, NonNegative, Probability, Weight
from lab.structures import DetectionTargets, Term

CLASSIFICATIONS = ("softmax", "sigmoid_focal")
NUM_BOXES, CLASS_WEIGHT = "num_boxes", "class_weight"


@dataclass(frozen=True)
class DETRLossOptions(Flat):
    """The numbers of DETR's matching and loss.

    Attributes:
        cost_class: weight of the class in the matching.
        cost_box: weight of the L1 distance in the matching.
        cost_giou: weight of the generalized IoU in the matching.
        class_loss_weight: weight of the class term.
        box_loss_weight: weight of the L1 term.
        giou_loss_weight: weight of the generalized IoU term.
        no_object_weight: weight of no-object in the cross-entropy; ``softmax`` only.
        focal_alpha: weight of positives; ``sigmoid_focal`` only.
        focal_gamma: exponent that reduces the loss of easy examples; ``sigmoid_focal`` only.
    """

    cost_class: Weight = 1.0
    cost_box: Weight = 5.0
    cost_giou: Weight = 2.0
    class_loss_weight: Weight = 1.0
    box_loss_weight: Weight = 5.0
    giou_loss_weight: Weight = 2.0
    no_object_weight: Weight = 0.1
    focal_alpha: Probability = 0.25
    focal_gamma: NonNegative = 2.0


LOSS_OPTIONS = DETRLossOptions()
"""The authors' numbers."""


class DETRCriterion:
    """Set prediction loss.

    Args:
        num_queries: Q, the predictions of one group for each image.
        num_classes: K.
        classification: ``softmax`` over K + 1 classes, the last of which is no-object, or ``sigmoid_focal`` over K.
        options: weights of matching and terms.
    """

    def __init__(
        self,
        num_queries: int,
        num_classes: int,
        classification: str = "softmax",
        options: DETRLossOptions = LOSS_OPTIONS,
    ) -> None:
        self.num_queries = num_queries
        self.num_classes = num_classes
        self.classification = classification
        self.costs = {name: getattr(options, name) for name in ("cost_class", "cost_box", "cost_giou")}
        self.weights = {
            "loss_ce": options.class_loss_weight,
            "loss_bbox": options.box_loss_weight,
            "loss_giou": options.giou_loss_weight,
        }
        of_classes = CLASS_WEIGHT if classification == "softmax" else NUM_BOXES
        self.normalizers = {"loss_ce": of_classes, "loss_bbox": NUM_BOXES, "loss_giou": NUM_BOXES}
        self.no_object_weight = options.no_object_weight
        self.focal_alpha = options.focal_alpha
        self.focal_gamma = options.focal_gamma

    def totals(self, targets: DetectionTargets) -> dict[str, float]:
        """Return this batch's number of boxes and sum of class weights over its queries, from host integers."""
        matched = sum(min(count, self.num_queries) for count in targets.counts)
        unmatched = self.num_queries * len(targets.counts) - matched
        return {
            NUM_BOXES: float(sum(targets.counts)),
            CLASS_WEIGHT: matched + self.no_object_weight * unmatched,
        }

    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        targets: DetectionTargets,
        num_groups: int = 1,
        proposals: tuple[Tensor, Tensor] | None = None,
    ) -> dict[str, Term]:
        """Return the weighted terms.

        Args:
            logits: (L, B, G * Q, K + 1), or (L, B, G * Q, K) for ``sigmoid_focal``.
            boxes: (L, B, G * Q, 4) cxcywh in 0..1.
            targets: the boxes of the B images.
            num_groups: G; a group is one more set of predictions of the same boxes.
            proposals: logits (B, S, K) and boxes (B, S, 4) of the encoder's S positions; ``sigmoid_focal`` only.

        Returns:
            ``loss_ce``, ``loss_bbox`` and ``loss_giou`` of the last layer, ``loss_ce_0`` and so on of the earlier ones,
            means over the groups; ``loss_ce_enc`` and so on of the proposals.
        """
        of_image = image_index(targets.counts, boxes.device)
        target_boxes = normalize_boxes(targets.boxes, targets.sizes, of_image)
        sets = [(split_groups(full_precision(logits), num_groups), split_groups(full_precision(boxes), num_groups))]
        if proposals is not None:
            sets.append((full_precision(proposals[0])[None], full_precision(proposals[1])[None]))
        with torch.no_grad():
            costs = [
                pairwise_costs(self.class_cost(item[0]), item[1], targets.labels, target_boxes, of_image, **self.costs)
                for item in sets
            ]
        matches = match(*costs, counts=targets.counts)

        terms: dict[str, Term] = {}
        for name, value in self.sums(*sets[0], matches[0], targets.labels, target_boxes).items():
            by_layer = value.unflatten(0, (-1, num_groups)).mean(1).unbind(0)
            sums = {name: by_layer[-1], **{f"{name}_{index}": term for index, term in enumerate(by_layer[:-1])}}
            terms |= {key: Term(term, self.normalizers[name]) for key, term in sums.items()}
        if proposals is not None:
            proposed = self.sums(*sets[1], matches[1], targets.labels, target_boxes)
            terms |= {f"{name}_enc": Term(value[0], self.normalizers[name]) for name, value in proposed.items()}
        return terms

    def sums(
        self,
        logits: Tensor,
        boxes: Tensor,
        matched: tuple[Tensor, Tensor, Tensor],
        labels: Tensor,
        target_boxes: Tensor,
    ) -> dict[str, Tensor]:
        """Return the weighted sums, each (N,), of N stacked sets of predictions (N, B, Q, ...)."""
        image, query, box = matched
        stack = torch.arange(len(logits), device=boxes.device)[:, None]
        predicted, target = boxes[stack, image, query], target_boxes[box]  # (N, M, 4)
        giou = paired_generalized_iou(box_cxcywh_to_xyxy(predicted), box_cxcywh_to_xyxy(target))
        values = {
            "loss_ce": self.class_loss(logits, (stack, image, query), labels[box]),
            "loss_bbox": (predicted - target).abs().sum((1, 2)),
            "loss_giou": (1 - giou).sum(1),
        }
        return {name: self.weights[name] * value for name, value in values.items()}

    def class_cost(self, logits: Tensor) -> Tensor:
        """Return (..., K), the cost of assigning each class to a prediction."""
        if self.classification == "softmax":
            return -logits.softmax(-1)
        probability = logits.sigmoid()
        positive = self.focal_alpha * (1 - probability) ** self.focal_gamma * -(probability + 1e-8).log()
        negative = (1 - self.focal_alpha) * probability**self.focal_gamma * -(1 - probability + 1e-8).log()
        return positive - negative

    def class_loss(self, logits: Tensor, matched: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
        """Return the sum (N,) of the class term of logits (N, B, Q, C); ``matched`` predictions have ``labels``."""
        if self.classification == "softmax":
            classes = torch.full(logits.shape[:-1], self.num_classes, dtype=torch.int64, device=logits.device)
            classes[matched] = labels
            entropy = -logits.log_softmax(-1).gather(-1, classes[..., None]).squeeze(-1)
            weight = torch.where(classes == self.num_classes, self.no_object_weight, 1.0)
            return (weight * entropy).sum((1, 2))
        target = torch.zeros_like(logits)
        target[(*matched, labels)] = 1.0
        loss = sigmoid_focal_loss(logits, target, self.focal_alpha, self.focal_gamma)
        return loss.sum((1, 2, 3))


def split_groups(tensor: Tensor, num_groups: int) -> Tensor:
    """Turn (L, B, G * Q, C) into (L * G, B, Q, C)."""
    return tensor.unflatten(2, (num_groups, -1)).transpose(1, 2).flatten(0, 1)


def sigmoid_focal_loss(logits: Tensor, target: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the elementwise focal loss of logits and targets in {0, 1}: Lin et al., "Focal Loss", 2017, equation 5."""
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = probability + target - 2 * probability * target  # 1 - p where the target is 1, p where it is 0
    return (alpha * target + (1 - alpha) * (1 - target)) * wrong**gamma * entropy
