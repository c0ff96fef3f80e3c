"""Writes a checkpoint folder with all ranks. A kill at any moment leaves the old checkpoint or the new one."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.checkpoint.format import Piece, crc32_of
from lab.checkpoint.index import STATE, Index, StoredPiece, StoredTensor, shard_name
from lab.checkpoint.plain import check_plain
from lab.checkpoint.unpickling import reason_of
from lab.errors import CheckpointError
from lab.system.files import CHECKPOINT_INDEX, remove, replace_folder, sync
from lab.system.storage import explain


def write_checkpoint(
    path: Path,
    pieces: Mapping[str, Piece],
    state: Mapping[str, Any],
    step: int,
    *,
    rank: int = 0,
    barrier: Callable[[], None] = lambda: None,
    keep: Path | None = None,
) -> None:
    """Write a checkpoint with all ranks; it replaces an older one at ``path``.

    A kill at any moment leaves the old checkpoint or the new one, and temporary folders whose names begin with a dot.

    Args:
        path: the checkpoint's folder. If several ranks hold tensors it must be on a disk that they share.
        pieces: this rank's parts, by name of the tensor.
        state: plain data; only rank 0's is written.
        step: the optimizer step of the checkpoint.
        rank: the rank of this process.
        barrier: waits for all ranks; each rank calls it the same number of times.
        keep: where the old checkpoint is moved, replacing what is there; None deletes it.

    Raises:
        CheckpointError: ``state`` holds more than plain data, or the ranks' pieces do not cover a tensor exactly once.
    """
    folder = path.with_name(f".{path.name}.writing")
    try:
        if rank == 0:
            remove(folder)
            folder.mkdir()  # without parents: a run directory that was moved is not created again
        barrier()
        index = _write_shard(folder, rank, pieces, step)
        if rank == 0:
            index.files[STATE] = _write_state(folder / STATE, state)
        elif index.files:
            _part(folder, rank).write_text(index.dumps(), encoding="utf-8")
        barrier()
        if rank == 0:
            for part in sorted(folder.glob("rank-*.json")):
                index.merge(Index.loads(part.read_text(encoding="utf-8"), part=True))
                part.unlink()
            index.check()
            (folder / CHECKPOINT_INDEX).write_text(index.dumps(), encoding="utf-8")
            sync(folder / CHECKPOINT_INDEX)
            sync(folder)
            replace_folder(folder, path, keep)
        barrier()
    except BaseException as error:
        if rank == 0:
            remove(folder)
        if isinstance(error, CheckpointError):
            raise CheckpointError(f"{path} cannot be written: {error}") from error
        if (
            isinstance(error, Exception)
            and (found := explain(error, where=path, needed=_num_bytes(pieces))) is not None
        ):
            raise found from error
        raise


def _num_bytes(pieces: Mapping[str, Piece]) -> int:
    return sum(piece.data.numel() * piece.data.element_size() for piece in pieces.values())


def _part(folder: Path, rank: int) -> Path:
    return (folder / shard_name(rank)).with_suffix(".json")


def _write_shard(folder: Path, rank: int, pieces: Mapping[str, Piece], step: int) -> Index:
    """Write this rank's file, if it holds anything, and return its part of the index."""
    from safetensors.torch import save_file

    name, index = shard_name(rank), Index(step)
    tensors: dict[str, Tensor] = {}
    keys: dict[Any, str] = {}
    for key, piece in pieces.items():
        data = piece.data.detach()
        stored = index.tensors[key] = StoredTensor(str(data.dtype).removeprefix("torch."), tuple(piece.shape))
        if not data.numel():
            continue
        # Tied weights are one tensor under two names: it is written once.
        same = (data.device, data.data_ptr(), data.dtype, data.shape, data.stride())
        first = keys.setdefault(same, key)
        if first == key:
            tensors[key] = data.cpu().contiguous()
        stored.pieces.append(StoredPiece(name, first, piece.offset, tuple(data.shape)))
    if tensors:
        if not folder.is_dir():
            raise CheckpointError(f"rank {rank} does not see {folder}: the ranks need a shared disk")
        save_file(tensors, folder / name)
        sync(folder / name)
        index.files[name] = (folder / name).stat().st_size, crc32_of(folder / name)
    return index


def _write_state(path: Path, state: Mapping[str, Any]) -> tuple[int, int]:
    buffer = io.BytesIO()
    try:
        check_plain(dict(state), "it")
    except CheckpointError as error:
        raise CheckpointError(f"its state is more than plain data: {error}") from None
    try:
        torch.save(dict(state), buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except Exception as error:  # pickle and torch raise different errors for data that is not plain
        raise CheckpointError(f"its state is more than plain data: {reason_of(error)}") from error
    content = buffer.getvalue()
    path.write_bytes(content)
    sync(path)
    return len(content), zlib.crc32(content)
