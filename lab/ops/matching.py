"""Bipartite matching of predictions to boxes, for all layers and images of a batch with one copy to the host.

Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, section 3.1. Costs are packed: predictions
are compared only with the boxes of their own image, so that memory does not grow with the square of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lab.ops.boxes import box_cxcywh_to_xyxy, paired_generalized_iou
from lab.ops.precision import full_precision


def pairwise_costs(
    class_cost: Tensor,
    boxes: Tensor,
    labels: Tensor,
    target_boxes: Tensor,
    image: Tensor,
    cost_class: float = 1.0,
    cost_box: float = 5.0,
    cost_giou: float = 2.0,
) -> Tensor:
    """Return the cost of assigning each box to each prediction of its image.

    L layers (or any stacked alternatives), B images, Q predictions per image, T boxes of all images.

    Args:
        class_cost: (L, B, Q, K) cost of assigning each class to a prediction, ``-probability`` for instance.
        boxes: (L, B, Q, 4) predicted cxcywh in 0..1.
        labels: (T,) int64.
        target_boxes: (T, 4) cxcywh in 0..1.
        image: (T,) the image that each box belongs to.
        cost_class: weight of the class cost.
        cost_box: weight of the L1 distance of cxcywh boxes.
        cost_giou: weight of the negative generalized IoU.

    Returns:
        (T, L, Q) float32.
    """
    by_class = full_precision(class_cost)[:, image, :, labels]  # separated advanced indices: (T, L, Q)
    predicted = full_precision(boxes)[:, image].transpose(0, 1)  # (T, L, Q, 4)
    target = target_boxes[:, None, None]
    distance = (predicted - target).abs().sum(-1)
    giou = paired_generalized_iou(box_cxcywh_to_xyxy(predicted), box_cxcywh_to_xyxy(target))
    return cost_class * by_class + cost_box * distance - cost_giou * giou


def assign(costs: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Solve the assignment of every layer and image on the host.

    Args:
        costs: (T, L, Q) from ``pairwise_costs``.
        counts: the number of boxes of each image.

    Returns:
        (3, L, M) int64: image, query and box of each match, images in order; M = sum(min(count, Q)). A box is left out
        only where an image has more boxes than queries.
    """
    from scipy.optimize import linear_sum_assignment

    num_layers, num_queries = costs.shape[1:]
    matched = np.empty((3, num_layers, sum(min(count, num_queries) for count in counts)), dtype=np.int64)
    # NaN does not raise here: the loss of the same predictions is NaN too, which is detected later.
    costs = np.nan_to_num(costs, nan=1e6, posinf=1e6, neginf=-1e6)
    first_box = first_match = 0
    for index, count in enumerate(counts):
        stop = first_match + min(count, num_queries)
        matched[0, :, first_match:stop] = index
        for layer in range(num_layers if count else 0):
            rows, columns = linear_sum_assignment(costs[first_box : first_box + count, layer])
            matched[1, layer, first_match:stop] = columns
            matched[2, layer, first_match:stop] = rows + first_box
        first_box, first_match = first_box + count, stop
    return matched


@torch.no_grad()
def match(*costs: Tensor, counts: Sequence[int]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Match with one copy to the host and one back.

    Args:
        *costs: each (T, L, Q) from ``pairwise_costs``; L and Q may differ.
        counts: the number of boxes of each image.

    Returns:
        For each of ``costs`` image, query and box of each match, each (L, M) int64 on its device;
        M = sum(min(count, Q)).
    """
    host = torch.cat([cost.detach().flatten(1) for cost in costs], dim=1).cpu()
    blocks = host.split([cost.shape[1] * cost.shape[2] for cost in costs], dim=1)
    solved = [
        assign(block.unflatten(1, tuple(cost.shape[1:])).numpy(), counts)
        for block, cost in zip(blocks, costs, strict=True)
    ]
    packed = torch.from_numpy(np.concatenate([item.reshape(-1) for item in solved]))
    if costs[0].is_cuda:
        packed = packed.pin_memory()
    packed = packed.to(costs[0].device, non_blocking=True)
    parts = packed.split([item.size for item in solved])
    matches = [part.view(item.shape) for part, item in zip(parts, solved, strict=True)]
    return [(item[0], item[1], item[2]) for item in matches]
