"""MaskFormer's loss: match masks to segments one to one, then compare classes and masks, on every decoder layer.

Cheng, Schwing, Kirillov, NeurIPS 2021, section 3.2 and appendix A. The matching works at a quarter of the resolution,
with the truth sampled by nearest interpolation; the loss works at full resolution. Only matched masks are computed with
a gradient, as others are not in the loss. All layers are matched with one copy of the costs to the host.

Names: L layers, B images, Q queries, K classes, E channels of a mask's code, T segments of all images, M matched pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.ops.masks import downsample_segments, mask_losses, pairwise_mask_costs, sampled_mask_losses
from lab.ops.matching import match
from lab.ops.precision import full_precision, without_autocast
from lab.ranges import Draws, Flat, Weight
from lab.structures import SegmentationTargets, Term

NUM_MASKS, CLASS_WEIGHT = "num_masks", "class_weight"
_NORMALIZERS = {"loss_ce": CLASS_WEIGHT, "loss_mask": NUM_MASKS, "loss_dice": NUM_MASKS}


@dataclass(frozen=True)
class MaskLossOptions(Flat):
    """The numbers of MaskFormer's matching and loss.

    Attributes:
        cost_class: weight of the class in the matching.
        cost_mask: weight of the focal distance of masks in the matching.
        cost_dice: weight of the dice distance of masks in the matching.
        class_loss_weight: weight of the class term.
        mask_loss_weight: weight of the focal term.
        dice_loss_weight: weight of the dice term.
        no_object_weight: weight of no-object in the cross-entropy.
        num_points: 0 for a loss on every pixel; otherwise the number of sampled points per mask (Mask2Former).
    """

    cost_class: Weight = 1.0
    cost_mask: Weight = 20.0
    cost_dice: Weight = 1.0
    class_loss_weight: Weight = 1.0
    mask_loss_weight: Weight = 20.0
    dice_loss_weight: Weight = 1.0
    no_object_weight: Weight = 0.1
    num_points: Draws = 0


LOSS_OPTIONS = MaskLossOptions()
"""The authors' numbers."""


class MaskCriterion:
    """Set prediction loss of masks.

    Args:
        num_queries: Q.
        num_classes: K; class K is no-object.
        options: weights of matching and terms, and the number of sampled points.
    """

    def __init__(self, num_queries: int, num_classes: int, options: MaskLossOptions = LOSS_OPTIONS) -> None:
        self.num_queries = num_queries
        self.num_classes = num_classes
        self.cost_class, self.cost_mask, self.cost_dice = options.cost_class, options.cost_mask, options.cost_dice
        self.weights = {
            "loss_ce": options.class_loss_weight,
            "loss_mask": options.mask_loss_weight,
            "loss_dice": options.dice_loss_weight,
        }
        self.no_object_weight = options.no_object_weight
        self.num_points = options.num_points

    def totals(self, targets: SegmentationTargets) -> dict[str, float]:
        """Return this batch's number of masks and sum of class weights over its queries, from host integers."""
        matched = sum(min(count, self.num_queries) for count in targets.counts)
        unmatched = self.num_queries * len(targets.counts) - matched
        return {
            NUM_MASKS: float(sum(targets.counts)),
            CLASS_WEIGHT: matched + self.no_object_weight * unmatched,
        }

    def __call__(
        self,
        class_logits: Tensor,
        mask_embed: Tensor | None,
        masks: Tensor,
        targets: SegmentationTargets,
        sample: bool = True,
    ) -> dict[str, Term]:
        """Return the weighted terms.

        Args:
            class_logits: (L, B, Q, K + 1).
            mask_embed: (L, B, Q, E), the codes of the masks; None if ``masks`` are logits.
            masks: features (B, E, h, w) whose products with the codes are the logits; or logits (B, Q, h, w), L = 1.
            targets: the segments of the B images.
            sample: whether to use ``num_points``; if False the loss is on every pixel and deterministic.

        Returns:
            ``loss_ce``, ``loss_mask`` and ``loss_dice`` of the last layer, ``loss_ce_0`` and so on of the earlier ones.
        """
        with without_autocast(masks):
            return self._terms(class_logits, mask_embed, masks, targets, sample)

    def _terms(
        self,
        class_logits: Tensor,
        mask_embed: Tensor | None,
        masks: Tensor,
        targets: SegmentationTargets,
        sample: bool,
    ) -> dict[str, Term]:
        class_logits, masks = full_precision(class_logits), full_precision(masks)
        mask_embed = None if mask_embed is None else full_precision(mask_embed)
        image, number = places(targets.counts, masks.device)
        with torch.no_grad():
            costs = self.costs(class_logits, mask_embed, masks, targets, image, number)
        (matched,) = match(costs, counts=targets.counts)

        values = {"loss_ce": self.class_loss(class_logits, matched, targets.labels)}
        logits = self.matched_masks(mask_embed, masks, matched, targets.counts)
        pairs = (logits, targets.segments, matched[0].flatten(), number[matched[2].flatten()])
        sampled = sample and self.num_points > 0
        losses = sampled_mask_losses(*pairs, self.num_points) if sampled else mask_losses(*pairs)
        for name, value in zip(("loss_mask", "loss_dice"), losses, strict=True):
            values[name] = value.view(len(class_logits), -1).sum(1)
        terms: dict[str, Term] = {}
        for name, value in values.items():
            by_layer = (self.weights[name] * value).unbind(0)
            sums = {name: by_layer[-1], **{f"{name}_{index}": term for index, term in enumerate(by_layer[:-1])}}
            terms |= {key: Term(value, _NORMALIZERS[name]) for key, value in sums.items()}
        return terms

    def costs(
        self,
        class_logits: Tensor,
        mask_embed: Tensor | None,
        masks: Tensor,
        targets: SegmentationTargets,
        image: Tensor,
        number: Tensor,
    ) -> Tensor:
        """Return (T, L, Q), the cost of assigning each segment to each query of its image."""
        small = downsample_segments(targets.segments, (masks.shape[-2], masks.shape[-1]))
        most = max(targets.counts, default=0)
        layers = []
        for index in range(len(class_logits)):  # a layer at a time: its masks are the largest tensors here
            logits = masks if mask_embed is None else torch.einsum("bqe,behw->bqhw", mask_embed[index], masks)
            focal, dice = pairwise_mask_costs(logits, small, most)
            layers.append(self.cost_mask * focal + self.cost_dice * dice)
        by_mask = torch.stack(layers)[:, image, :, number]  # separated advanced indices: (T, L, Q)
        by_class = class_logits.softmax(-1)[:, image, :, targets.labels]
        return by_mask - self.cost_class * by_class

    def class_loss(self, logits: Tensor, matched: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
        """Return the summed cross-entropy (L,) of logits (L, B, Q, K + 1), no-object where nothing is matched."""
        image, query, segment = matched
        layer = torch.arange(len(logits), device=logits.device)[:, None]
        classes = torch.full(logits.shape[:-1], self.num_classes, dtype=torch.int64, device=logits.device)
        classes[layer, image, query] = labels[segment]
        entropy = -logits.log_softmax(-1).gather(-1, classes[..., None]).squeeze(-1)
        weight = torch.ones_like(entropy).masked_fill(classes == self.num_classes, self.no_object_weight)
        return (weight * entropy).sum((1, 2))

    def matched_masks(
        self,
        mask_embed: Tensor | None,
        masks: Tensor,
        matched: tuple[Tensor, Tensor, Tensor],
        counts: Sequence[int],
    ) -> Tensor:
        """Return the logits (L * M, h, w) of the matched masks."""
        image, query, _ = matched
        if mask_embed is None:
            return masks[image, query].flatten(0, 1)
        num_layers, num_images, _, width = mask_embed.shape
        # Images have different numbers of matches: codes are padded to a grid, so that one batched product is enough.
        of_image, slot = places([min(count, self.num_queries) for count in counts], masks.device)
        most = max((min(count, self.num_queries) for count in counts), default=0)
        grid = torch.zeros(num_layers, num_images, most, dtype=torch.int64, device=masks.device)
        grid[:, of_image, slot] = query
        codes = mask_embed.gather(2, grid[..., None].expand(-1, -1, -1, width))
        products = codes.transpose(0, 1).flatten(1, 2) @ masks.flatten(2)  # (B, L * most, h * w)
        products = products.unflatten(1, (num_layers, most))[of_image, :, slot]  # (M, L, h * w)
        return products.transpose(0, 1).reshape(-1, *masks.shape[-2:])


def places(counts: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return two (T,) int64: the image of each packed segment, and its number there; one upload of host integers."""
    packed = [(index, number) for index, count in enumerate(counts) for number in range(count)]
    both = torch.tensor(packed, dtype=torch.int64).view(-1, 2).T.contiguous().to(device, non_blocking=True)
    return both[0], both[1]
