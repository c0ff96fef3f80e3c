"""TensorFlow's checkpoints of version 1: written here by an independent writer, damaged at every byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lab.errors import CheckpointError
from lab.registry.tensor_slices import read_slices
from lab.registry.weights import read_state_dict
from tests.tensorflow_files import field, table, varint

NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
VALUES = {"float32": 5, "float64": 6, "int32": 7, "int64": 10}


def shape(sizes: tuple[int, ...]) -> bytes:
    return b"".join(field(2, field(1, size)) for size in sizes)


def values(tensor: Tensor) -> bytes:
    if tensor.is_floating_point():
        return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return b"".join(varint(number % (1 << 64)) for number in tensor.flatten().tolist())


def write(path: Path, tensors: dict[str, Tensor], more: bytes = b"", extent: bytes = b"", left: bytes = b"") -> Path:
    """Write variables; ``more`` are further ones of the list, ``extent`` the limits of each axis."""
    listed, entries = more, []
    for name, tensor in sorted(tensors.items()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        place = b"".join(field(1, extent) for _ in tensor.shape)
        kind, size = field(3, NUMBERS[dtype]), field(2, shape(tuple(tensor.shape)))
        listed += field(1, field(1, name.encode()) + size + kind + field(4, place))
        content = field(1, NUMBERS[dtype]) + field(2, shape(tuple(tensor.shape))) + field(VALUES[dtype], values(tensor))
        value = field(2, field(1, name.encode()) + field(2, place) + field(3, content + left))
        entries.append((b"\0" + name.encode(), value))
    path.write_bytes(table([(b"", field(1, listed + field(2, field(1, 0)))), *entries]))
    return path


def some() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "net/conv/weights": torch.randn(2, 1, 3, generator=generator),
        "net/fc/biases": torch.randn(4, generator=generator).double(),
        "net/steps": torch.tensor(-7),
        "net/counts": torch.tensor([3, 300, -1], dtype=torch.int32),
    }


def test_variables_are_read(tmp_path: Path) -> None:
    text = field(1, field(1, b"net/words") + field(2, shape((2,))) + field(3, 7) + field(4, field(1, b"")))
    path = write(tmp_path / "model.ckpt", some(), more=text)
    found = read_state_dict(path)
    assert found.keys() == some().keys()
    for name, tensor in some().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_what_is_no_whole_variable_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.ckpt", some(), extent=field(1, 1) + field(2, 1))
    with pytest.raises(CheckpointError, match="is a variable in slices, which is not read; save it whole"):
        read_slices(path)
    listed = field(1, field(1, b"lost") + field(2, shape((2,))) + field(3, 1) + field(4, field(1, b"")))
    with pytest.raises(CheckpointError, match="lost has no values"):
        read_slices(write(tmp_path / "model.ckpt", some(), more=listed))
    (tmp_path / "other.ckpt").write_bytes(table([(b"a", b"")]))
    with pytest.raises(CheckpointError, match="it lists no variables"):
        read_slices(tmp_path / "other.ckpt")
    twice = write(tmp_path / "model.ckpt", {"x": torch.ones(3)}, left=field(5, b"\0" * 4))
    with pytest.raises(CheckpointError, match=r"x has 4 values, its shape \[3\] needs 3"):
        read_slices(twice)


def test_damage_is_never_read_as_another_value(tmp_path: Path) -> None:
    path = write(tmp_path / "model.ckpt", {"x": torch.arange(3.0), "n": torch.tensor([5, 6])})
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            found = read_slices(path)
        except CheckpointError:
            refused += 1
        else:
            assert torch.equal(found["x"], torch.arange(3.0))
            assert found["n"].tolist() == [5, 6]
    assert refused > len(whole) * 0.7  # the rest is padding of the footer
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_state_dict(path)
