"""YOLO-Fastest 1.1 against plain modules of the same .cfg (``darknet_peer.py``), with the same weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from benchmarks.darknet_peer import PlainDarknet
from benchmarks.pairs import Pair, Size, fill_norms
from benchmarks.yolo_fastest import maps_pair
from torch import nn

from lab import create_model
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
    return maps_pair(ours, peer, batch, size, device, training)
