"""TensorFlow's checkpoints: written here by an independent writer, damaged at every byte."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lab
from lab.errors import CheckpointError, LabError
from lab.models.bert.weights import to_google
from lab.registry.create import find_weights
from lab.registry.tensor_bundle import find_bundle, read_bundle
from lab.registry.weights import read_state_dict
from tests.tensorflow_files import checksum, field, table, varint

NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bool": 10, "bfloat16": 14, "float16": 19}
TINY: dict[str, Any] = {
    "vocab_size": 11,
    "embed_dim": 4,
    "num_layers": 1,
    "num_heads": 2,
    "feedforward_dim": 6,
    "max_length": 5,
}


def write(
    prefix: Path, tensors: dict[str, Tensor], more: dict[str, bytes] | None = None, kind: int = 0, **header: int
) -> Path:
    """Write tensors, and entries as they are given."""
    data, entries = (
        b"",
        {"": field(1, header.get("shards", 1)) + field(2, header.get("endian", 0)) + field(3, field(1, 1))},
    )
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        content = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
        place = field(4, len(data)) + field(5, len(content)) + varint(6 << 3 | 5) + struct.pack("<I", checksum(content))
        entries[name] = field(1, NUMBERS[dtype]) + field(2, shape) + place
        data += content
    entries |= more or {}
    index = prefix.with_name(prefix.name + ".index")
    index.write_bytes(table(sorted((key.encode(), value) for key, value in entries.items()), kind))
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)
    return index


def some() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "layer/kernel": torch.randn(3, 2, generator=generator),
        "layer/kernel/adam_m": torch.randn(3, 2, generator=generator),
        "flag": torch.tensor(True),
        "layer/bias": torch.randn(2, generator=generator).to(torch.bfloat16),
        "half": torch.randn(2, 1, 2, generator=generator).half(),
        "double": torch.randn(2, generator=generator).double(),
        "global_step": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }


def test_the_writer_knows_the_checksum() -> None:
    assert checksum(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_tensors_of_all_dtypes_are_read_by_index_prefix_and_file_of_data(tmp_path: Path) -> None:
    tensors = some()
    index = write(tmp_path / "model.ckpt-9", tensors, {"_GRAPH": field(1, 7)})
    for path in (index, tmp_path / "model.ckpt-9", tmp_path / "model.ckpt-9.data-00000-of-00001"):
        assert find_bundle(path) == index
        found = read_state_dict(path)
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)
    found["layer/kernel"].zero_()  # of a copy of the page
    assert torch.equal(read_state_dict(index)["layer/kernel"], tensors["layer/kernel"])
    assert find_weights("bert_tiny", tmp_path / "model.ckpt-9") == tmp_path / "model.ckpt-9"
    assert find_bundle(tmp_path / "other") is None


def same(index: Path, tensors: dict[str, Tensor]) -> bool:
    """Whether the file is read as it was; False if it is refused."""
    try:
        found = read_bundle(index)
    except CheckpointError:
        return False
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    return True


def test_damage_of_any_byte_is_seen(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in some().items() if name in ("layer/kernel", "layer/bias", "global_step")}
    index = write(tmp_path / "model.ckpt", tensors)
    data = index.with_name("model.ckpt.data-00000-of-00001")
    assert same(index, tensors)
    for file, unread in ((index, 40), (data, 0)):  # the padding of the footer
        whole = file.read_bytes()
        harmless = 0
        for place in range(len(whole)):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
            if same(index, tensors):
                assert len(whole) - 48 < place < len(whole) - 8
                harmless += 1
        for place in range(0, len(whole), 5):
            file.write_bytes(whole[:place])
            assert not same(index, tensors)
        assert harmless <= unread
        file.write_bytes(whole)
    data.unlink()
    with pytest.raises(CheckpointError, match=r"model\.ckpt\.data-00000-of-00001 is missing beside it"):
        read_bundle(index)


def entry(dtype: int = 1, shape: bytes = b"", **places: int) -> bytes:
    numbers = {"shard": 3, "offset": 4, "size": 5}
    return field(1, dtype) + field(2, shape) + b"".join(field(numbers[key], value) for key, value in places.items())


@pytest.mark.parametrize(
    ("more", "header", "words"),
    [
        ({"a": entry(size=4, offset=2)}, {}, "lies over another tensor"),
        ({"a": entry(size=8)}, {}, r"a has 8 bytes, its shape \[\] needs 4"),
        ({"a": entry(size=4, offset=1 << 40)}, {}, "is cut off"),
        ({"a": entry(size=4, shard=1)}, {}, "a is in file 1 of 1"),
        ({"a": entry(dtype=21)}, {}, "a has the dtype 21 of TensorFlow"),
        ({"a": entry() + field(7, b"")}, {}, "a is a variable in slices"),
        ({"a": entry(shape=field(3, 1))}, {}, "no known shape"),
        ({"a": entry(shape=field(2, field(1, 1 << 50)))}, {}, "an impossible shape"),
        ({"a": b"\x0b"}, {}, "a is no message"),
        ({"a": field(1, b"x")}, {}, "is no number"),
        ({"a": field(1, 1) + field(2, 3)}, {}, "no message"),
        ({"a": b"\x08" + b"\xff" * 10}, {}, "more than 64 bits"),
        ({}, {"endian": 1}, "big-endian"),
        ({}, {"shards": 0}, "names 0 files"),
        ({}, {"kind": 1}, r"compressed \(snappy\)"),
    ],
)
def test_what_is_not_read_is_said(tmp_path: Path, more: dict[str, bytes], header: dict[str, int], words: str) -> None:
    index = write(tmp_path / "model.ckpt", {"layer": torch.randn(2)}, more, **header)
    with pytest.raises(CheckpointError, match=words):
        read_bundle(index)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="hold no tensors"):
        read_bundle(write(tmp_path / "model.ckpt", {}))


def test_googles_bert_loads_by_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = lab.create_model("bert_tiny", **TINY)
    variables = to_google(net.state_dict())
    slots = {f"{name}/adam_v": torch.ones(1) for name in variables} | {"global_step": torch.tensor(7)}
    index = write(tmp_path / "bert_model.ckpt", variables | slots)
    for path in (index, tmp_path / "bert_model.ckpt"):
        with caplog.at_level("INFO"):
            found = lab.create_model("bert_mini", pretrained=path, **TINY).state_dict()
        assert f"{len(slots)} variables of the optimizer are not read" in caplog.text
        assert all(torch.equal(found[key], value) for key, value in net.state_dict().items())
    with pytest.raises(LabError, match=r"of a vocabulary of 11 tokens, the network has 12: set data\.tokenizer"):
        lab.create_model("bert_tiny", pretrained=index, **{**TINY, "vocab_size": 12})
    with pytest.raises(LabError, match=r"sequences of up to 5 tokens: set model\.asks\.max_length=5"):
        lab.create_model("bert_tiny", pretrained=index, **{**TINY, "max_length": 6})
    cut = lab.create_model("bert_tiny", pretrained=index, **{**TINY, "max_length": 3}).state_dict()
    assert torch.equal(cut["embeddings.places.weight"], net.state_dict()["embeddings.places.weight"][:3])
