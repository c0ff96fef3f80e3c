"""DETR against transformers' (with timm's ResNets, its default), with the same weights.

A training step is forward, matching and loss on every decoder layer, and backward.
"""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.pairs import Pair, Size, fill_norms, loss_of, noise_images, worst
from torch import Tensor, nn

from lab import create_model
from lab.models.detr.weights import to_transformers
from lab.structures import DetectionTargets
from lab.training.terms import batch_terms

PEERS: dict[str, dict[str, Any]] = {
    "detr_resnet50": {},
    "detr_resnet50_dc5": {"dilation": True},
    "detr_resnet101": {"backbone": "resnet101"},
    "detr_resnet101_dc5": {"backbone": "resnet101", "dilation": True},
}
"""The settings in transformers' config of each published variant; ``detr_tiny`` exists only in lab."""
NUM_CLASSES = 91
OPTIMIZER = {
    "name": "adamw",
    "lr": 1e-4,
    "weight_decay": 1e-4,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "no_decay_norm_bias": False,
    "groups": [{"pattern": r"^backbone\.0\.body\.", "lr": 1e-5}],
}
"""That of conf/optimizer/detr.yaml."""


def make_targets(batch: int, size: Size, device: torch.device) -> tuple[DetectionTargets, list[dict[str, Tensor]]]:
    """Return the same 7 to 9 boxes for each image in lab's and in transformers' format."""
    generator = torch.Generator().manual_seed(2)
    counts = tuple(7 + index % 3 for index in range(batch))
    center, extent = torch.rand(2, sum(counts), 2, generator=generator)
    boxes = torch.cat([0.3 + 0.4 * center, 0.05 + 0.5 * extent], dim=1)
    labels = torch.randint(0, NUM_CLASSES, (sum(counts),), generator=generator)
    scale = torch.tensor([size[1], size[0]]).repeat(2)
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1) * scale
    sizes = torch.tensor([size] * batch, dtype=torch.float32)
    ours = DetectionTargets(corners, labels, counts, sizes).to(device)
    pairs = zip(labels.to(device).split(counts), boxes.to(device).split(counts), strict=True)
    return ours, [{"class_labels": label, "boxes": box} for label, box in pairs]


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return lab's and transformers' DETR; images are not padded."""
    torch.manual_seed(0)
    rate = {} if name == "detr_tiny" else {"dropout": 0.1 if dropout else 0.0}
    ours: Any = create_model(name, num_classes=NUM_CLASSES, **rate)
    fill_norms(ours)
    peer = _peer(ours, name, training, dropout).to(device) if name in PEERS else None
    ours = ours.to(device).train(training)
    images = noise_images(batch, size, device)
    targets, labels = make_targets(batch, size, device)

    def outputs(model: Any, boxes: str) -> Tensor:
        found = model(images)
        return torch.cat([found.logits.flatten(), getattr(found, boxes).flatten()])

    pair = Pair(ours, lambda: outputs(ours, "boxes"), batch, lambda: loss_of(ours, ours(images), targets))
    if peer is not None:
        pair.peer = peer
        pair.peer_outputs = lambda: outputs(peer, "pred_boxes")
        pair.peer_loss = lambda: peer(images, labels=labels).loss
        pair.difference = lambda: _difference(ours, peer, images, targets, labels)
    return pair


def _peer(ours: nn.Module, name: str, training: bool, dropout: bool) -> Any:
    from transformers import DetrConfig, DetrForObjectDetection

    # lab has dropout on attention weights and hidden activations too, like the paper's code; so must the peer here.
    rate = 0.1 if dropout else 0.0
    config = DetrConfig(
        num_labels=NUM_CLASSES,
        auxiliary_loss=training,
        dropout=rate,
        attention_dropout=rate,
        activation_dropout=rate,
        **PEERS[name],
    )
    peer: Any = DetrForObjectDetection(config).train(training)
    peer.load_state_dict(to_transformers(ours.state_dict(), "timm"), strict=True)
    for key, parameter in peer.model.backbone.named_parameters():
        # The paper freezes the stem and the first stage. Transformers tries to, but it fails with timm's backbone.
        parameter.requires_grad_(not key.startswith(("model.conv1.", "model.layer1.")))
    return peer


@torch.no_grad()
def _difference(
    ours: Any, peer: Any, images: Tensor, targets: DetectionTargets, labels: list[dict[str, Tensor]]
) -> float:
    """Compare the last layer's loss without dropout; transformers computes auxiliary losses from other states."""
    training, auxiliary = ours.training, peer.config.auxiliary_loss
    ours.eval(), peer.eval()
    peer.config.auxiliary_loss = False
    terms = batch_terms(ours, ours(images), targets)
    mine = terms["loss_ce"] + terms["loss_bbox"] + terms["loss_giou"]
    difference = worst(mine, peer(images, labels=labels).loss)
    peer.config.auxiliary_loss = auxiliary
    ours.train(training), peer.train(training)
    return difference
