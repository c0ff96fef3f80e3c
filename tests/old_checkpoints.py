"""Checkpoints as earlier commits wrote them, from descriptions without tensors (``tests/golden/checkpoints``).

A description holds what that commit wrote: the plain state, and each tensor's name, dtype and shape. The tensors are
filled here, and the files written in the form of that commit, not by lab's present writer.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

FOLDER = Path(__file__).parent / "golden" / "checkpoints"
SHARD = "rank-00000.safetensors"


def described(name: str) -> dict[str, Any]:
    """Return a description."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def filled(description: dict[str, Any]) -> dict[str, Tensor]:
    """Return the tensors, each a wave of its own."""
    found = {}
    for number, (name, (dtype, *shape)) in enumerate(sorted(description["tensors"].items())):
        wave = torch.sin(0.37 * torch.arange(torch.Size(shape).numel(), dtype=torch.float64) + number)
        found[name] = (0.2 * wave).to(getattr(torch, dtype)).reshape(shape)
    return found


def write(folder: Path, state: dict[str, Any], tensors: dict[str, Tensor], version: int = 1) -> Path:
    """Write a checkpoint of one rank."""
    folder.mkdir()
    save_file(tensors, folder / SHARD)
    torch.save(state, folder / "state.pt")
    files = {name: (folder / name).read_bytes() for name in (SHARD, "state.pt")}
    content: dict[str, Any] = {
        "format": version,
        "step": state["step"],
        "files": {name: {"size": len(data), "crc32": zlib.crc32(data)} for name, data in files.items()},
        "tensors": {
            name: {
                "dtype": str(value.dtype).removeprefix("torch."),
                "shape": list(value.shape),
                "pieces": [{"file": SHARD, "key": name, "offset": [0] * value.ndim, "shape": list(value.shape)}],
            }
            for name, value in tensors.items()
        },
    }
    content["checksum"] = zlib.crc32(text_of(content).encode())
    (folder / "index.json").write_text(text_of(content))
    return folder


def text_of(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"
