"""The checkpoint format of all strategies: a folder with safetensors shards, plain data and an index.

    last.ckpt/
      rank-00000.safetensors   the tensors, or parts of tensors, that rank 0 holds; one file for each such rank
      state.pt                 numbers, strings, lists, dicts and small tensors: loads with ``weights_only=True``
      index.json               written last: see ``lab.checkpoint.index``

The index gives each tensor's whole shape, however it was split, so any number of ranks under any strategy can read what
it needs. Nothing in a checkpoint is executed, and nothing outside of the folder is opened.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.checkpoint.index import (
    STATE,
    Index,
    StoredPiece,
    StoredTensor,
    TensorBox,
    boxes_of_piece,
    boxes_of_run,
    intersection,
)
from lab.checkpoint.plain import check_plain
from lab.checkpoint.unpickling import reason_of
from lab.errors import CheckpointError, LabError
from lab.system.files import CHECKPOINT_INDEX

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and not dtype.is_complex
}


_MAX_INDEX = 1 << 30
"""The largest index in bytes; a large model on a thousand ranks has a hundredth of it."""


@dataclass(frozen=True)
class Piece:
    """One rank's part of a tensor.

    Attributes:
        data: the elements, on any device; empty if this rank only declares that the tensor exists.
        shape: the shape of the whole tensor.
        offset: a tuple if ``data`` is a block: its corner in the tensor. An int if ``data``, in any shape, is a run of
            the flattened tensor: its first element.
    """

    data: Tensor
    shape: tuple[int, ...]
    offset: tuple[int, ...] | int


def crc32_of(path: Path) -> int:
    """Return the CRC32 of a file."""
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


@contextmanager
def understood(path: str | Path, what: str) -> Iterator[None]:
    """Context in which an error caused by a checkpoint's content becomes an error of one line.

    Args:
        path: the checkpoint.
        what: what the content should be, for the message.

    Raises:
        CheckpointError: the content is not that.
    """
    try:
        yield
    except LabError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError) as error:
        raise CheckpointError(f"{path} is damaged: no {what} ({reason_of(error)})") from error
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: no {what} ({reason_of(error)})") from error


class CheckpointReader:
    """Reads whole tensors, blocks, or runs of elements from a checkpoint folder, and no more of the files than needed.

    Opening a checkpoint checks the index and the sizes of all files; ``verify`` reads the files.

    Args:
        path: the folder.

    Attributes:
        path: the folder.
        step: the optimizer step of the checkpoint.

    Raises:
        CheckpointError: the checkpoint is missing or damaged. All methods raise it too.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        text = self._read_index()
        try:
            self._index = Index.loads(text)
        except CheckpointError as error:
            raise self._damaged(str(error)) from error
        self.step = self._index.step
        self._files: dict[str, Any] = {}
        for name in [STATE, *self._index.files]:
            self._check_size(name)

    def _read_index(self) -> str:
        """Return the text of the index; links, pipes and devices are not opened."""
        try:
            kind = self.path.stat().st_mode
        except FileNotFoundError:
            raise CheckpointError(f"{self.path}: no such checkpoint") from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{str(self.path)[:200]}: no such checkpoint ({reason_of(error)})") from None
        if not stat.S_ISDIR(kind):
            raise CheckpointError(f"{self.path}: this is a file; a checkpoint is a folder")
        try:
            found = (self.path / CHECKPOINT_INDEX).lstat()
            if not stat.S_ISREG(found.st_mode):
                raise self._damaged(f"its {CHECKPOINT_INDEX} is no plain file")
            if found.st_size > _MAX_INDEX:
                raise self._damaged(f"its {CHECKPOINT_INDEX} has {found.st_size} bytes")
            return (self.path / CHECKPOINT_INDEX).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise CheckpointError(f"{self.path} is damaged or no checkpoint: it has no {CHECKPOINT_INDEX}") from None
        except UnicodeDecodeError:
            raise self._damaged(f"its {CHECKPOINT_INDEX} is no text") from None
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read ({reason_of(error)})") from None

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the tensors that begin with ``prefix``."""
        return [name for name in self._index.tensors if name.startswith(prefix)]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the whole shape of a tensor."""
        return self._tensor(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Return the dtype of a tensor."""
        dtype = _DTYPES.get(self._tensor(name).dtype)
        if dtype is None:
            raise self._damaged(f"{name} is of an unknown dtype {self._tensor(name).dtype[:80]!r}")
        return dtype

    def read(self, name: str) -> Tensor:
        """Return a whole tensor, on the CPU."""
        return self.read_block(name, (0,) * len(self.shape(name)), self.shape(name))

    def read_block(self, name: str, offset: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
        """Return the block of ``shape`` with the corner ``offset``, on the CPU."""
        whole = self.shape(name)
        if len(offset) != len(whole) or len(shape) != len(whole):
            raise ValueError(f"{name} has {len(whole)} dimensions, the block {offset} {shape} has not")
        if any(a < 0 or n < 0 or a + n > m for a, n, m in zip(offset, shape, whole, strict=True)):
            raise ValueError(f"{name} {whole} does not reach to the block {shape} at {offset}")
        result = self._empty(name, shape)
        self._fill(name, [((tuple(offset), tuple(shape)), result)])
        return result

    def read_flat(self, name: str, start: int, stop: int) -> Tensor:
        """Return the elements ``start`` to ``stop`` of the flattened tensor, on the CPU."""
        whole = self.shape(name)
        if not 0 <= start <= stop <= torch.Size(whole).numel():
            raise ValueError(f"{name} {whole} does not reach from element {start} to {stop}")
        result = self._empty(name, (stop - start,))
        self._fill(name, _views(result, boxes_of_run(whole, start, stop)))
        return result

    @cached_property
    def state(self) -> dict[str, Any]:
        """The plain data."""
        self._check_content(STATE)
        try:
            content = torch.load(self.path / STATE, map_location="cpu", weights_only=True)
        except Exception as error:  # zipfile, pickle and torch each have errors of their own for a bad file
            raise self._damaged(f"its {STATE} cannot be read as plain data: {reason_of(error)}") from error
        if not isinstance(content, dict):
            raise self._damaged(f"its {STATE} holds no dictionary")
        try:
            check_plain(content, f"its {STATE}")
        except CheckpointError as error:
            raise self._damaged(str(error)) from None
        return content

    def verify(self) -> None:
        """Compare every file with its checksum."""
        for name in self._index.files:
            self._check_content(name)

    def _damaged(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is damaged: {problem}")

    def _check_size(self, name: str) -> None:
        if name not in self._index.files:
            raise self._damaged(f"its {CHECKPOINT_INDEX} does not list {name}")
        try:
            found = (self.path / name).lstat()
        except OSError:
            raise self._damaged(f"its file {name} is missing") from None
        if not stat.S_ISREG(found.st_mode):
            raise self._damaged(f"its {name} is no plain file")
        if found.st_size != self._index.files[name][0]:
            raise self._damaged(f"its file {name} has {found.st_size} bytes instead of {self._index.files[name][0]}")

    def _check_content(self, name: str) -> None:
        self._check_size(name)
        try:
            found = crc32_of(self.path / name)
        except OSError as error:
            raise CheckpointError(f"{self.path}: its file {name} cannot be read ({reason_of(error)})") from None
        if found != self._index.files[name][1]:
            raise self._damaged(f"the checksum of its file {name} does not fit")

    def _tensor(self, name: str) -> StoredTensor:
        if name not in self._index.tensors:
            raise CheckpointError(f"{self.path} has no tensor {name}")
        return self._index.tensors[name]

    def _empty(self, name: str, shape: tuple[int, ...]) -> Tensor:
        for piece in self._tensor(name).pieces:  # checked before memory is allocated for a size that the index states
            self._stored(name, piece)
        with understood(self.path, f"tensor of the shape of {name}"):
            return torch.empty(shape, dtype=self.dtype(name))

    def _stored(self, name: str, piece: StoredPiece) -> Tensor:
        """Return a piece as a view of the memory-mapped file, so that only what is used is read."""
        from safetensors import SafetensorError, safe_open

        try:
            if piece.file not in self._files:
                self._files[piece.file] = safe_open(self.path / piece.file, framework="pt")
            tensor: Tensor = self._files[piece.file].get_tensor(piece.key)
        except RuntimeError as error:  # torch's own, when the file cannot be mapped: no memory, a limit
            raise CheckpointError(f"{self.path / piece.file} cannot be read: {reason_of(error)}") from error
        except (SafetensorError, OSError) as error:
            raise self._damaged(f"its file {piece.file} cannot be read: {reason_of(error)}") from error
        if tuple(tensor.shape) != piece.shape or tensor.dtype != self.dtype(name):
            raise self._damaged(f"{piece.key} in {piece.file} is not what its index says")
        return tensor

    def _fill(self, name: str, wanted: list[tuple[TensorBox, Tensor]]) -> None:
        """Copy into each wanted block the elements that the pieces of a tensor share with it."""
        shape = self.shape(name)
        for piece in self._tensor(name).pieces:
            held = _views(self._stored(name, piece), boxes_of_piece(shape, piece))
            for box, target in wanted:
                for source_box, source in held:
                    common = intersection(box, source_box)
                    if common is not None:
                        _part_of(target, box, common).copy_(_part_of(source, source_box, common))


def _views(tensor: Tensor, boxes: Iterable[TensorBox]) -> list[tuple[TensorBox, Tensor]]:
    """Cut a tensor, in the order of its elements, into views with the shapes of the blocks."""
    flat, views, start = tensor.reshape(-1), [], 0
    for corner, extent in boxes:
        count = torch.Size(extent).numel()
        views.append(((corner, extent), flat[start : start + count].view(extent)))
        start += count
    return views


def _part_of(tensor: Tensor, box: TensorBox, common: TensorBox) -> Tensor:
    starts = [start - corner for start, corner in zip(common[0], box[0], strict=True)]
    for dim, (start, size) in enumerate(zip(starts, common[1], strict=True)):
        tensor = tensor.narrow(dim, start, size)
    return tensor
