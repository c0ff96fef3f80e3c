"""Checkpoint files: written atomically, verified before they are trusted, never unpickled beyond plain data."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from lab.errors import CheckpointError
from lab.files import replacing


def save_atomically(content: Any, path: Path) -> None:
    """Replace ``path`` by what ``torch.save`` writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, binary=True) as file:
        torch.save(content, file)


def load_checkpoint(path: str | Path, map_location: Any = "cpu", needs: str = "state_dict") -> dict[str, Any]:
    """Read a checkpoint after comparing every record with its checksum.

    Args:
        path: the file.
        map_location: where its tensors go.
        needs: an entry without which it is not what was looked for.

    Raises:
        CheckpointError: the file is missing, truncated, damaged, or holds more than plain data and tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path} is damaged: the checksum of its record {damaged} does not fit")
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except CheckpointError:
        raise
    # Whatever else is wrong in a damaged archive surfaces as one of many exception types of zipfile, zlib and torch.
    except Exception as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(checkpoint, dict) or needs not in checkpoint:
        raise CheckpointError(f"{path} is no checkpoint that can be used here: it has no entry {needs!r}")
    return checkpoint


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's reading and writing of checkpoints by the functions above."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``."""
        save_atomically(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Read the checkpoint at ``path``, plain data and tensors only."""
        return load_checkpoint(path, map_location)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the checkpoint at ``path``."""
        Path(path).unlink(missing_ok=True)
