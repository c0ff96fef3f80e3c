"""The index of a checkpoint folder: its tensors, and which file holds which part of each. No torch.

``index.json`` is one JSON object: ``format``, ``step``, ``files`` (name -> ``size`` in bytes and ``crc32``),
``tensors`` (name -> ``dtype``, ``shape`` and ``pieces``) and ``checksum``, the CRC32 of the rest. A piece names its
``file``, its ``key`` there, its ``shape`` and its ``offset``: the corner of a block (a list), or the first element of a
run in the flattened tensor (a number). The index is not trusted: types, ranges and file names are checked on reading.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.errors import CheckpointError

FORMAT = 1
STATE = "state.pt"
MAX_STEP = 10**12
"""The largest step: thirty years at a thousand steps a second."""
_SHARD = re.compile(r"rank-[0-9]{5}\.safetensors")

TensorBox = tuple[tuple[int, ...], tuple[int, ...]]
"""The corner and the shape of a block."""


def shard_name(rank: int) -> str:
    """Return the name of the file that a rank writes."""
    return f"rank-{rank:05d}.safetensors"


@dataclass(frozen=True)
class StoredPiece:
    """The place of a part of a tensor: ``key`` in ``file``; ``offset`` is a block's corner or the start of a run."""

    file: str
    key: str
    offset: tuple[int, ...] | int
    shape: tuple[int, ...]


@dataclass
class StoredTensor:
    """A tensor of a checkpoint: its dtype (``float32``), whole shape and pieces."""

    dtype: str
    shape: tuple[int, ...]
    pieces: list[StoredPiece] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        pieces = [{"file": p.file, "key": p.key, "offset": p.offset, "shape": p.shape} for p in self.pieces]
        return {"dtype": self.dtype, "shape": self.shape, "pieces": pieces}


@dataclass
class Index:
    """The content of ``index.json``.

    Attributes:
        step: the optimizer step that the checkpoint stands for.
        files: name -> (size in bytes, CRC32).
        tensors: name -> tensor.
    """

    step: int
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    tensors: dict[str, StoredTensor] = field(default_factory=dict)

    def dumps(self) -> str:
        """Return the text of ``index.json``."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "step": self.step,
            "files": {name: {"size": size, "crc32": crc} for name, (size, crc) in sorted(self.files.items())},
            "tensors": {name: tensor.as_json() for name, tensor in sorted(self.tensors.items())},
        }
        return _dump({**content, "checksum": zlib.crc32(_dump(content).encode())})

    @classmethod
    def loads(cls, text: str, part: bool = False) -> Index:
        """Read and check the text of ``index.json``.

        Args:
            text: the whole text.
            part: whether it is the index of one rank of several, so that elements may be missing.

        Raises:
            CheckpointError: it is damaged, of another format, names files that no checkpoint has, or its pieces do not
                cover every tensor exactly once. The message does not name the checkpoint.
        """
        try:
            content = json.loads(text)
            if not isinstance(content, dict) or not isinstance(content.get("format"), int):
                raise CheckpointError("its index.json is no index")
            if content["format"] != FORMAT:
                raise CheckpointError(f"it is of format {content['format']}, this version of lab reads {FORMAT}")
            checksum = content.pop("checksum")
            # The whole text is compared, since JSON can write the same value in several ways.
            if checksum != zlib.crc32(_dump(content).encode()) or text != _dump({**content, "checksum": checksum}):
                raise CheckpointError("the checksum of its index.json does not fit")
            _known_keys(content, "format", "step", "files", "tensors")
            index = cls(_number(content["step"]))
            if index.step > MAX_STEP:
                raise CheckpointError(f"its step {index.step} is none that a training reaches")
            for name, entry in content["files"].items():
                if name != STATE and not _SHARD.fullmatch(name):
                    raise CheckpointError(f"its index.json names a file {name[:80]!r}, which no checkpoint has")
                _known_keys(entry, "size", "crc32")
                index.files[name] = (_number(entry["size"]), _number(entry["crc32"]))
            for name, entry in content["tensors"].items():
                index.tensors[name] = _read_tensor(entry, index.files)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError("its index.json is no index") from error
        if not part:
            index.check()
        return index

    def merge(self, other: Index) -> None:
        """Add the files and pieces of another rank.

        Raises:
            CheckpointError: the ranks do not agree about a tensor.
        """
        self.files.update(other.files)
        for name, tensor in other.tensors.items():
            mine = self.tensors.setdefault(name, StoredTensor(tensor.dtype, tensor.shape))
            if (mine.dtype, mine.shape) != (tensor.dtype, tensor.shape):
                one, two = (f"{entry.dtype} {list(entry.shape)}" for entry in (mine, tensor))
                raise CheckpointError(f"the ranks differ about {name}: {one} and {two}")
            mine.pieces += tensor.pieces

    def check(self) -> None:
        """Check that the pieces of every tensor cover it exactly once.

        Raises:
            CheckpointError: elements are missing or occur twice.
        """
        for name, tensor in self.tensors.items():
            problem = _cover(tensor)
            if problem:
                raise CheckpointError(f"its pieces of {name} {list(tensor.shape)} {problem}")


def _dump(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _known_keys(entry: Mapping[str, Any], *names: str) -> None:
    """Refuse keys that this format does not have: ignoring them would lose their meaning."""
    unknown = sorted(set(entry) - set(names))
    if unknown:
        raise CheckpointError(f"its index.json has a key {unknown[0][:80]!r} that format {FORMAT} does not know")


def _numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{values!r} is no list of counts")
    return tuple(_number(value) for value in values)


def _read_tensor(entry: Mapping[str, Any], files: Mapping[str, Any]) -> StoredTensor:
    _known_keys(entry, "dtype", "shape", "pieces")
    tensor = StoredTensor(str(entry["dtype"]), _numbers(entry["shape"]))
    for piece in entry["pieces"]:
        _known_keys(piece, "file", "key", "offset", "shape")
        if piece["file"] not in files or piece["file"] == STATE:
            raise CheckpointError(f"its index.json names a file {str(piece['file'])[:80]!r} that it does not list")
        run = isinstance(piece["offset"], int)
        offset = _number(piece["offset"]) if run else _numbers(piece["offset"])
        tensor.pieces.append(StoredPiece(piece["file"], str(piece["key"]), offset, _numbers(piece["shape"])))
    return tensor


def boxes_of_run(shape: Sequence[int], start: int, stop: int) -> Iterator[TensorBox]:
    """Cut the elements ``start`` to ``stop`` of a flattened tensor of ``shape`` into blocks, in their order."""
    if start >= stop:
        return
    if not shape:
        yield (), ()
        return
    row, rest = math.prod(shape[1:]), tuple(shape[1:])
    (first, head), (last, tail) = divmod(start, row), divmod(stop, row)
    if first == last:
        yield from _in_row(rest, first, head, tail)
        return
    if head:
        yield from _in_row(rest, first, head, row)
        first += 1
    if last > first:
        yield (first, *(0 for _ in rest)), (last - first, *rest)
    if tail:
        yield from _in_row(rest, last, 0, tail)


def _in_row(shape: tuple[int, ...], row: int, start: int, stop: int) -> Iterator[TensorBox]:
    for corner, extent in boxes_of_run(shape, start, stop):
        yield (row, *corner), (1, *extent)


def intersection(one: TensorBox, other: TensorBox) -> TensorBox | None:
    """Return the block that two blocks have in common, if there is one."""
    corner = tuple(max(a, b) for a, b in zip(one[0], other[0], strict=True))
    ends = [min(a + m, b + n) for a, m, b, n in zip(one[0], one[1], other[0], other[1], strict=True)]
    extent = tuple(end - start for start, end in zip(corner, ends, strict=True))
    return None if any(size <= 0 for size in extent) else (corner, extent)


def _cover(tensor: StoredTensor) -> str:
    """Say what is wrong with the pieces of a tensor; "" if nothing is."""
    count = 0
    for piece in tensor.pieces:
        numel = math.prod(piece.shape)
        count += numel
        if isinstance(piece.offset, int):
            fits = piece.offset + numel <= math.prod(tensor.shape)
        else:
            fits = len(piece.offset) == len(piece.shape) == len(tensor.shape) and all(
                start + size <= whole
                for start, size, whole in zip(piece.offset, piece.shape, tensor.shape, strict=True)
            )
        if not fits:
            return "reach beyond it"
    if count != math.prod(tensor.shape):
        return f"hold {count} elements of {math.prod(tensor.shape)}"
    return "overlap" if _overlap(tensor) else ""


def _overlap(tensor: StoredTensor) -> bool:
    pieces = [piece for piece in tensor.pieces if math.prod(piece.shape)]
    runs = [_as_run(tensor.shape, piece) for piece in pieces]
    known = sorted(run for run in runs if run is not None)
    if len(known) == len(pieces):
        return any(this[1] > following[0] for this, following in itertools.pairwise(known))
    boxes = [list(boxes_of_piece(tensor.shape, piece)) for piece in pieces]
    return any(
        intersection(box, other) is not None
        for number, mine in enumerate(boxes)
        for others in boxes[:number]
        for box in mine
        for other in others
    )


def _as_run(shape: tuple[int, ...], piece: StoredPiece) -> tuple[int, int] | None:
    """Return the start and the end (exclusive) of a piece in the flattened tensor; None if it is not contiguous."""
    if isinstance(piece.offset, int):
        return piece.offset, piece.offset + math.prod(piece.shape)
    split = next((i for i, size in enumerate(piece.shape) if size != 1), len(shape))
    if piece.shape[split + 1 :] != shape[split + 1 :]:
        return None
    start = 0
    for corner, size in zip(piece.offset, shape, strict=True):
        start = start * size + corner
    return start, start + math.prod(piece.shape)


def boxes_of_piece(shape: tuple[int, ...], piece: StoredPiece) -> Iterable[TensorBox]:
    """Return the blocks of a tensor of ``shape`` that a piece holds, in the order of its elements."""
    if isinstance(piece.offset, int):
        return boxes_of_run(shape, piece.offset, piece.offset + math.prod(piece.shape))
    return [(piece.offset, piece.shape)]
