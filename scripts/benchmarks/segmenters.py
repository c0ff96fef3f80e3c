"""MaskFormer against transformers', with the same weights; the per-pixel baseline, which has no peer.

MaskFormer's pair predicts from and trains the last decoder layer only (``aux_loss=False``), because transformers
computes auxiliary losses from other states. Neither uses dropout. A training step is forward, matching, the losses on
every pixel and backward.
"""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.classifiers import swin_config
from benchmarks.pairs import Pair, Size, fill_norms, loss_of, noise_images
from torch import Tensor, nn

from lab import create_model
from lab.models.maskformer.weights import to_transformers
from lab.structures import SegmentationTargets

NUM_CLASSES = 150
SWINS = {
    "maskformer_swin_tiny": "swin_tiny",
    "maskformer_swin_small": "swin_small",
    "maskformer_swin_base": "swin_base_window12",
    "maskformer_swin_large": "swin_large_window12",
}
"""The backbone of each variant that has a peer."""


def make_targets(batch: int, size: Size, device: torch.device) -> tuple[SegmentationTargets, list[Tensor]]:
    """Return 11 or 12 segments for each image, and the same as masks (n, H, W)."""
    generator = torch.Generator().manual_seed(2)
    counts = tuple(12 - index % 2 for index in range(batch))
    grids = [torch.randperm(8 * 12, generator=generator) % count for count in counts]
    cells = torch.stack(grids).view(batch, 1, 8, 12).float()
    segments = nn.functional.interpolate(cells, size=size)[:, 0].to(device, torch.int16)
    labels = torch.cat([torch.randperm(NUM_CLASSES, generator=generator)[:count] for count in counts]).to(device)
    pixels = (size[0] * size[1],) * batch
    targets = SegmentationTargets(segments, labels, counts, pixels, torch.tensor([size] * batch, device=device).float())
    numbers = torch.arange(12, device=device)[:, None, None]
    masks = [(segments[i] == numbers[:count]).float() for i, count in enumerate(counts)]
    return targets, masks


def make_maskformer(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return lab's network and, for the variants on Swin, transformers'."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"num_classes": NUM_CLASSES}
    if name != "maskformer_tiny":
        options |= {"dropout": 0.0, "aux_loss": False}
    if name in SWINS:
        options["backbone_options"] = {"drop_path_rate": 0.0}
    ours: Any = create_model(name, **options)
    fill_norms(ours)
    peer = _peer(ours, name).to(device).train(training) if name in SWINS else None
    ours = ours.to(device).train(training)
    images = noise_images(batch, size, device)
    targets, masks = make_targets(batch, size, device)
    labels = list(targets.labels.split(targets.counts))

    def outputs() -> Tensor:
        found = ours(images)
        return torch.cat([found.class_logits.flatten(), found.mask_logits.flatten()])

    def peer_outputs() -> Tensor:
        found = peer(images)
        return torch.cat([found.class_queries_logits.flatten(), found.masks_queries_logits.flatten()])

    pair = Pair(ours, outputs, batch, lambda: loss_of(ours, ours(images), targets))
    if peer is not None:
        pair.peer, pair.peer_outputs = peer, peer_outputs
        pair.peer_loss = lambda: peer(images, mask_labels=masks, class_labels=labels).loss
    return pair


def _peer(ours: nn.Module, name: str) -> Any:
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation

    config = MaskFormerConfig(
        backbone_config=swin_config(SWINS[name], out_features=[f"stage{index}" for index in range(1, 5)]),
        decoder_config=DetrConfig(dropout=0.0, num_queries=100),
        num_labels=NUM_CLASSES,
    )
    peer: Any = MaskFormerForInstanceSegmentation(config)
    report = peer.load_state_dict(to_transformers(ours.state_dict()), strict=False)
    assert not report.unexpected_keys
    # Transformers must be told to weight the terms 20, 1, 1; its matching uses the same weights.
    peer.weight_dict = {"loss_cross_entropy": 1.0, "loss_mask": 20.0, "loss_dice": 1.0}
    peer.matcher.cost_mask = peer.criterion.matcher.cost_mask = 20.0
    return peer


def make_per_pixel(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return the baseline."""
    torch.manual_seed(0)
    ours: Any = create_model(name, num_classes=NUM_CLASSES)
    fill_norms(ours)
    ours = ours.to(device).train(training)
    images = noise_images(batch, size, device)
    targets, _ = make_targets(batch, size, device)
    return Pair(ours, lambda: ours(images).logits, batch, lambda: loss_of(ours, ours(images), targets))
