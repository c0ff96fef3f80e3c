"""YOLO-FastestV2 against plain modules in the published layout (``yolo_fastest_peer.py``), with the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from benchmarks.detr import make_targets
from benchmarks.pairs import Made, Pair, Size, fill_norms, loss_of, noise_images, worst
from benchmarks.yolo_fastest_peer import STRIDES, PlainYoloFastest, plain_loss, plain_rows, plain_suppressed
from torch import Tensor, nn
from torch.nn import functional as F

from lab import create_model
from lab.models.yolo_fastest.network import YoloOutputs
from lab.models.yolo_fastest.weights import to_official
from lab.structures import DetectionPredictions, DetectionTargets

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
    pair = maps_pair(ours, peer, batch, size, device, training)
    images, (targets, _) = noise_images(batch, size, device), make_targets(batch, size, device)
    rows = published_targets(targets)
    pair.peer_loss = lambda: torch.stack(plain_loss(peer(images.flip(1)), rows)).sum()
    pair.difference = lambda: _difference(ours, peer, images, targets)
    return pair


def maps_pair(ours: Any, peer: nn.Module, batch: int, size: Size, device: torch.device, training: bool) -> Pair:
    """Return a pair whose outputs are all maps; the peer has no loss yet."""
    ours, peer = (net.to(device).train(training) for net in (ours, peer))
    images, (targets, _) = noise_images(batch, size, device), make_targets(batch, size, device)
    return Pair(
        ours,
        lambda: maps_of(ours, images),
        batch,
        lambda: loss_of(ours, ours(images), targets),
        peer,
        lambda: flat(peer(images)),
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


def maps_of(net: Any, images: Tensor) -> Tensor:
    """Return a network's maps in one tensor."""
    return flat(net.raw_maps(images))


def boxes_row(batch: int, size: Size, device: torch.device) -> Made:
    """Return decoding and suppression of the same maps, each in the layout that its own network leaves."""
    ours: Any = create_model("yolo_fastest_v2", num_classes=NUM_CLASSES)
    maps = busy_maps(batch, size, device)
    own = tuple(part.contiguous(memory_format=torch.channels_last) for part in maps)
    outputs = YoloOutputs(own, sizes := torch.tensor([size] * batch, device=device))

    def boxes() -> DetectionPredictions:
        found: DetectionPredictions = ours.predict(outputs, sizes)
        return found

    def published() -> list[Tensor]:
        return plain_suppressed(plain_rows(maps), ours.min_score, ours.nms_iou, ours.max_detections)

    found, expected = boxes(), published()
    for rows in expected:  # as ours are, which costs the peer no time
        rows[:, :4] = torch.minimum(rows[:, :4].clamp(min=0), torch.tensor([size[1], size[0]]).repeat(2))
    return torch.inference_mode()(boxes), torch.inference_mode()(published), _apart(found, expected)


def busy_maps(batch: int, size: Size, device: torch.device) -> list[Tensor]:
    """Return maps of a dozen objects in each image, found by the cells around them: it has 117 boxes above 0.01.

    None lies outside of its image, where ours would leave it out.
    """
    generator = torch.Generator().manual_seed(3)
    maps = []
    for stride in STRIDES:
        height, width = size[0] // stride, size[1] // stride
        spots = torch.rand(batch, 1, height, width, generator=generator) < 6 / (height * width)
        near = F.max_pool2d(spots.float(), 3, 1, 1)
        for channels in (12, 3, NUM_CLASSES):
            noise = torch.randn(batch, channels, height, width, generator=generator)
            maps.append(noise / 2 if channels == 12 else noise - 8 + 4 * near if channels == 3 else 3 * noise)
    return [part.to(device) for part in maps]


def _apart(found: DetectionPredictions, expected: list[Tensor]) -> float:
    """Return the largest difference of boxes relative to the largest box; 1 if others were found."""
    worst_of_all = 0.0
    for boxes, scores, rows in zip(found.boxes.cpu(), found.scores.cpu(), expected, strict=True):
        kept = boxes[scores > 0]
        if kept.shape != rows[:, :4].shape:
            return 1.0
        worst_of_all = max(worst_of_all, worst(kept, rows[:, :4]) if len(kept) else 0.0)
    return worst_of_all


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
