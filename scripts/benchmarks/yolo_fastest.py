"""YOLO-FastestV2 against plain modules in the published layout (``yolo_fastest_peer.py``), with the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from benchmarks.detr import make_targets
from benchmarks.pairs import Pair, Size, fill_norms, loss_of, worst
from benchmarks.yolo_fastest_peer import PlainYoloFastest, plain_loss
from torch import Tensor

from lab import create_model
from lab.models.yolo_fastest.weights import to_official
from lab.structures import DetectionTargets

NUM_CLASSES = 91


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return ours and the peer; images are not padded."""
    torch.manual_seed(0)
    ours: Any = create_model(name, num_classes=NUM_CLASSES)
    fill_norms(ours)
    peer = PlainYoloFastest(NUM_CLASSES)
    peer.load_state_dict(to_official(ours.state_dict()), strict=True)
    ours, peer = (net.to(device).train(training) for net in (ours, peer))
    images = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)
    targets, _ = make_targets(batch, size, device)
    rows = published_targets(targets)
    return Pair(
        ours,
        lambda: flat(ours.raw_maps(images)),
        batch,
        lambda: loss_of(ours, ours(images), targets),
        peer,
        lambda: flat(peer(images)),
        lambda: torch.stack(plain_loss(peer(images.flip(1)), rows)).sum(),
        lambda: _difference(ours, peer, images, targets),
    )


def flat(maps: Sequence[Tensor]) -> Tensor:
    """Return all maps in one tensor."""
    return torch.cat([part.flatten() for part in maps])


def published_targets(targets: DetectionTargets) -> Tensor:
    """Return (T, 6): image, class, and centre and size relative to the image; images are of one size."""
    counts = torch.tensor(targets.counts, device=targets.boxes.device)
    image = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    height, width = targets.sizes[0].tolist()
    low, high = targets.boxes.split(2, dim=1)
    places = torch.cat(((low + high) / 2, high - low), dim=1) / low.new_tensor([width, height, width, height])
    return torch.cat((torch.stack((image, targets.labels), dim=1), places), dim=1)


@torch.no_grad()
def _difference(ours: Any, peer: PlainYoloFastest, images: Tensor, targets: DetectionTargets) -> float:
    """Compare the losses of one box alone, for the first five: the normalisers of one box are the published ones."""
    maps, theirs = ours(images), peer(images.flip(1))
    differences = []
    for box in range(min(5, targets.counts[0])):
        counts = (1, *(0 for _ in images[1:]))
        alone = DetectionTargets(targets.boxes[box : box + 1], targets.labels[box : box + 1], counts, targets.sizes)
        published = torch.stack(plain_loss(theirs, published_targets(alone))).sum()
        differences.append(worst(loss_of(ours, maps, alone), published))
    return max(differences)
