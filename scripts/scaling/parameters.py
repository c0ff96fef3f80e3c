"""Training steps and checkpoints by the number of parameters."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from scaling.points import Study, Values, seconds
from torch import Tensor

from lab import create_model
from lab.checkpoint.format import CheckpointReader, Piece
from lab.checkpoint.writer import write_checkpoint
from lab.training.optimizers import make_optimizer

ADAMW = {"name": "adamw", "lr": 1e-4, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01}
ADAMW |= {"no_decay_norm_bias": True, "groups": []}
VOCABULARY, TOKENS, LAYERS = 1_024, 32, 4


def width_for(count: int) -> int:
    """Return the width, a multiple of 64, with which a transformer of 4 layers has about so many parameters."""
    # 12 width^2 a layer, and the embedding.
    width = round((count / (12 * LAYERS)) ** 0.5 / 64) * 64
    return max(64, width)


def measure(count: int, scratch: Path) -> Values:
    """Measure a step of BLOOM on 32 tokens with AdamW, and its whole checkpoint, written and read."""
    torch.manual_seed(0)
    width = width_for(count)
    net: Any = create_model(
        "bloom_tiny", vocab_size=VOCABULARY, embed_dim=width, num_layers=LAYERS, num_heads=width // 64
    )
    optimizer = make_optimizer(net.train(), ADAMW, private=True)
    tokens = torch.randint(VOCABULARY, (1, TOKENS))

    def step() -> None:
        optimizer.zero_grad()
        net(tokens).last_hidden_state.pow(2).mean().backward()
        optimizer.step()

    found: Values = {"parameters": float(sum(item.numel() for item in net.parameters()))}
    found["step, s"] = seconds(step, rounds=3)
    tensors: dict[str, Tensor] = {}
    for name, parameter in net.named_parameters():
        tensors[name] = parameter.detach()
        state = optimizer.state[parameter]
        tensors |= {f"{name}.{key}": state[key] for key in ("exp_avg", "exp_avg_sq") if key in state}
    pieces = {name: Piece(item, tuple(item.shape), (0,) * item.ndim) for name, item in tensors.items()}
    place = scratch / "last.ckpt"
    found["write, s"] = seconds(lambda: write_checkpoint(place, pieces, {}, 1), rounds=0)
    found["checkpoint, MiB"] = sum(file.stat().st_size for file in place.iterdir()) / 2**20

    def read() -> None:
        reader = CheckpointReader(place)
        reader.verify()
        for name, item in tensors.items():
            item.copy_(reader.read(name))

    found["read, s"] = seconds(read, rounds=0)
    shutil.rmtree(place)
    return found


STUDIES = [
    Study(
        "BLOOM of 4 layers, 32 tokens, AdamW",
        "parameters",
        (1_000_000, 10_000_000, 100_000_000, 300_000_000),
        (200_000, 800_000),
        measure,
    )
]
