"""YOLO-Fastest 1.1 against plain modules of the same .cfg (``darknet_peer.py``), with the same weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from benchmarks.darknet_peer import PlainDarknet
from benchmarks.detr import make_targets
from benchmarks.pairs import Made, Pair, Size, fill_norms, loss_of, worst
from benchmarks.yolo_fastest import flat
from torch import nn

from lab import create_model, deploy
from lab.models.darknet.weights import save_cfg

NUM_CLASSES = 91


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return ours and the peer, which has no loss; images are not padded."""
    torch.manual_seed(0)
    ours: Any = create_model(name, num_classes=NUM_CLASSES)
    fill_norms(ours)
    if not dropout:
        for layer in ours.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
    with tempfile.TemporaryDirectory() as folder:
        save_cfg(ours, Path(folder) / "net.cfg")
        peer = PlainDarknet((Path(folder) / "net.cfg").read_text(), dropout)
    own = {key: value for key, value in ours.state_dict().items() if key != "header"}
    peer.load_state_dict(dict(zip(peer.state_dict(), own.values(), strict=True)))
    ours, peer = (net.to(device).train(training) for net in (ours, peer))
    images = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)
    targets, _ = make_targets(batch, size, device)
    return Pair(
        ours,
        lambda: flat(ours.raw_maps(images)),
        batch,
        lambda: loss_of(ours, ours(images), targets),
        peer,
        lambda: flat(peer(images)),
    )


def deploy_row(batch: int, size: Size, device: torch.device) -> Made:
    """Return the maps of ``lab.deploy``'s copy and of the peer."""
    pair = make("yolo_fastest_v1_1", batch, size, device)
    assert pair.peer is not None
    images = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)
    deployed = deploy(pair.ours, images)
    ours, peer = (
        torch.inference_mode()(call) for call in (lambda: deployed.raw_maps(images), lambda: pair.peer(images))
    )
    return ours, peer, worst(flat(ours()), flat(peer()))
