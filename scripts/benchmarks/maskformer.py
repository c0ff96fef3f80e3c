"""MaskFormer on Swin-T against transformers', with the same weights.

Both predict and train the last decoder layer only (``aux_loss=False``): transformers' own auxiliary losses are of other
states. Neither drops anything. A training step is forward, matching, the losses on every pixel and backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lab import create_model
from lab.models.maskformer.weights import to_transformers
from lab.structures import SegmentationTargets

Size = tuple[int, int]


def fill_norms(model: nn.Module) -> None:
    """Give every norm an affine away from the identity, so that a wrong one would be seen."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim == 1 and "norm" in name:
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(0.75 + 0.5 * noise if name.endswith("weight") else 0.1 * (noise - 0.5))


def pair(training: bool, device: torch.device) -> tuple[Any, Any]:
    """Return ours and transformers'."""
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation, SwinConfig

    torch.manual_seed(0)
    options = {"drop_path_rate": 0.0}
    ours: Any = create_model("maskformer_swin_tiny", dropout=0.0, aux_loss=False, backbone_options=options)
    fill_norms(ours)
    stages = [f"stage{index}" for index in range(1, 5)]
    config = MaskFormerConfig(
        backbone_config=SwinConfig(drop_path_rate=0.0, out_features=stages),
        decoder_config=DetrConfig(dropout=0.0, num_queries=100),
        num_labels=150,
    )
    peer = MaskFormerForInstanceSegmentation(config)
    report = peer.load_state_dict(to_transformers(ours.state_dict()), strict=False)
    assert not report.unexpected_keys
    return ours.to(device).train(training), peer.to(device).train(training)


def make_images(batch: int, size: Size, device: torch.device) -> Tensor:
    """Return (B, 3, H, W) noise."""
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)


def make_targets(batch: int, size: Size, device: torch.device) -> tuple[SegmentationTargets, list[Tensor]]:
    """Return 11 or 12 segments an image, and the same as masks (n, H, W) of each image."""
    generator = torch.Generator().manual_seed(2)
    counts = tuple(12 - index % 2 for index in range(batch))
    grids = [torch.randperm(8 * 12, generator=generator) % count for count in counts]
    cells = torch.stack(grids).view(batch, 1, 8, 12).float()
    segments = nn.functional.interpolate(cells, size=size)[:, 0].to(device, torch.int16)
    labels = torch.cat([torch.randperm(150, generator=generator)[:count] for count in counts]).to(device)
    pixels = (size[0] * size[1],) * batch
    targets = SegmentationTargets(segments, labels, counts, pixels, torch.tensor([size] * batch, device=device).float())
    numbers = torch.arange(12, device=device)[:, None, None]
    masks = [(segments[i] == numbers[:count]).float() for i, count in enumerate(counts)]
    return targets, masks


def maskformer_forward(
    batch: int, size: Size, device: torch.device
) -> tuple[Callable[[], Tensor], Callable[[], Tensor], float]:
    """Inference: class logits and mask logits of the last layer."""
    ours, peer = pair(False, device)
    images = make_images(batch, size, device)

    def run_ours() -> Tensor:
        with torch.inference_mode():
            out = ours(images)
            logits: Tensor = out.mask_logits
            return logits

    def run_peer() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = peer(images).masks_queries_logits
            return logits

    mine, theirs = run_ours(), run_peer()
    return run_ours, run_peer, float((mine - theirs).abs().max() / theirs.abs().max())


def maskformer_train(
    batch: int, size: Size, device: torch.device
) -> tuple[Callable[[], Tensor], Callable[[], Tensor], float]:
    """Forward, matching, losses of the last layer at full resolution, backward; compared by the loss."""
    ours, peer = pair(True, device)
    images = make_images(batch, size, device)
    targets, masks = make_targets(batch, size, device)
    labels = list(targets.labels.split(targets.counts))
    # Transformers weighs the terms 20, 1, 1 only if told; its matching takes the same weights.
    peer.weight_dict = {"loss_cross_entropy": 1.0, "loss_mask": 20.0, "loss_dice": 1.0}
    peer.matcher.cost_mask = peer.criterion.matcher.cost_mask = 20.0

    def run_ours() -> Tensor:
        ours.zero_grad(set_to_none=True)
        loss = torch.stack(list(ours.loss(ours(images), targets).values())).sum()
        loss.backward()
        return loss.detach()

    def run_peer() -> Tensor:
        peer.zero_grad(set_to_none=True)
        loss: Tensor = peer(images, mask_labels=masks, class_labels=labels).loss
        loss.backward()
        return loss.detach()

    return run_ours, run_peer, float((run_ours() / run_peer() - 1).abs())
