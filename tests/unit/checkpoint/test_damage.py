"""Every damage is an error of one line that names the checkpoint; nothing planted in one is executed or followed."""

from __future__ import annotations

import json
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lab.checkpoint.format import CheckpointReader, Piece
from lab.checkpoint.writer import write_checkpoint
from lab.errors import CheckpointError
from lab.registry.pretrained import read_state_dict

FILES = ("index.json", "rank-00000.safetensors", "state.pt")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 20, generator=generator)
    pieces = {"model/w": Piece(weight, (30, 20), (0, 0)), "model/b": Piece(torch.ones(3), (3,), (0,))}
    write_checkpoint(path, pieces, {"step": 3, "rng": [1, 2, 3]}, 3)
    return path


def read_all(path: Path) -> None:
    """Read as a resume does."""
    reader = CheckpointReader(path)
    reader.verify()
    assert reader.state
    for name in reader.names():
        reader.read(name)


def assert_named(path: Path, problem: str = "is damaged") -> None:
    with pytest.raises(CheckpointError, match=problem) as error:
        read_all(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("name", FILES)
def test_truncated(checkpoint: Path, name: str) -> None:
    content = (checkpoint / name).read_bytes()
    generator = random.Random(0)
    for cut in [0, 1, len(content) // 2, len(content) - 1, *(generator.randrange(len(content)) for _ in range(10))]:
        (checkpoint / name).write_bytes(content[:cut])
        assert_named(checkpoint, "is damaged")
    (checkpoint / name).write_bytes(content + b" ")
    assert_named(checkpoint, "is damaged")


@pytest.mark.parametrize("name", FILES)
def test_flipped(checkpoint: Path, name: str) -> None:
    content = (checkpoint / name).read_bytes()
    generator = random.Random(0)
    # Of the index every byte, of the others some of every region.
    places = range(len(content)) if name == "index.json" else generator.sample(range(len(content)), 200)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << generator.randrange(8)
        (checkpoint / name).write_bytes(damaged)
        assert_named(checkpoint, "is damaged|is of format")
    (checkpoint / name).write_bytes(content)
    read_all(checkpoint)


@pytest.mark.parametrize("name", FILES)
def test_missing(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    assert_named(checkpoint, name)
    (checkpoint / name).mkdir()
    assert_named(checkpoint, name)


def test_no_folder_or_another(tmp_path: Path) -> None:
    assert_named(tmp_path / "none.ckpt", "no such checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "old.ckpt")
    assert_named(tmp_path / "old.ckpt", "this is a file; a checkpoint is a folder")
    (tmp_path / "empty.ckpt").mkdir()
    assert_named(tmp_path / "empty.ckpt", r"damaged or no checkpoint: it has no index\.json")


def test_opening_alone_sees_what_sizes_tell_and_verify_the_rest(checkpoint: Path) -> None:
    path = checkpoint / "rank-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    reader = CheckpointReader(checkpoint)
    with pytest.raises(CheckpointError, match=r"the checksum of its file rank-00000\.safetensors does not fit"):
        reader.verify()
    path.write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="bytes instead of"):
        CheckpointReader(checkpoint)


def test_weights_of_a_damaged_checkpoint_are_not_taken(checkpoint: Path) -> None:
    assert read_state_dict(checkpoint).keys() == {"w", "b"}
    path = checkpoint / "rank-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged"):
        read_state_dict(checkpoint)


def sign(checkpoint: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the index as somebody would who knows the format: its checksum fits."""
    content = json.loads((checkpoint / "index.json").read_text())
    content.pop("checksum")
    changed = change(content)
    content = changed if isinstance(changed, dict) else content

    def dump(value: Any) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n"

    (checkpoint / "index.json").write_text(dump({**content, "checksum": zlib.crc32(dump(content).encode())}))


def plant(checkpoint: Path, name: str) -> None:
    """Let the index take the tensor ``model/w`` from another file, which it lists with size and checksum."""
    content = (checkpoint / name).read_bytes()

    def change(index: dict[str, Any]) -> None:
        index["files"][name] = {"size": len(content), "crc32": zlib.crc32(content)}
        index["tensors"]["model/w"]["pieces"][0]["file"] = name

    sign(checkpoint, change)


@pytest.mark.parametrize("way", ["..", "absolute", "deeper", "other name"])
def test_files_outside_are_not_opened(checkpoint: Path, tmp_path: Path, way: str) -> None:
    secret = tmp_path / "rank-00007.safetensors"
    save_file({"model/w": torch.zeros(30, 20)}, secret)
    names = {"..": "../rank-00007.safetensors", "absolute": str(secret), "deeper": "sub/rank-00007.safetensors"}
    (checkpoint / "sub").mkdir()
    for place in ("sub/rank-00007.safetensors", "secret.safetensors"):
        shutil.copy(secret, checkpoint / place)
    plant(checkpoint, names.get(way, "secret.safetensors"))
    assert_named(checkpoint, "which no checkpoint has")


def test_links_are_not_followed(checkpoint: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    save_file({"model/w": torch.zeros(30, 20)}, secret)
    (checkpoint / "rank-00007.safetensors").symlink_to(secret)
    plant(checkpoint, "rank-00007.safetensors")
    assert_named(checkpoint, r"rank-00007\.safetensors is no plain file")


def test_a_file_that_cannot_be_mapped_is_no_damage(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's error where memory is limited."""

    def fails(*args: Any, **options: Any) -> Any:
        raise RuntimeError("unable to mmap 4096 bytes from file: Cannot allocate memory (12)")

    monkeypatch.setattr("safetensors.safe_open", fails)
    with pytest.raises(
        CheckpointError, match=r"safetensors cannot be read: RuntimeError: unable to mmap 4096 bytes"
    ) as seen:
        read_all(checkpoint)
    assert "damaged" not in str(seen.value)


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


def test_nothing_in_the_state_is_executed(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"step": Evil()}, checkpoint / "state.pt")
    content = (checkpoint / "state.pt").read_bytes()
    sign(checkpoint, lambda index: index["files"]["state.pt"].update(size=len(content), crc32=zlib.crc32(content)))
    assert_named(checkpoint, r"state\.pt cannot be read as plain data")
    assert "executed" not in capsys.readouterr().out


def w(index: dict[str, Any]) -> Any:
    return index["tensors"]["model/w"]


CRAFTED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "huge": (lambda i: w(i).update(shape=[10**9, 10**9]), "hold 600 elements of 1000000000000000000"),
    "huge piece": (
        lambda i: [entry.update(shape=[10**9, 10**9]) for entry in (w(i), w(i)["pieces"][0])],
        "is not what its index says",
    ),
    "negative": (lambda i: w(i)["pieces"][0].update(offset=[-1, 0]), "is no index"),
    "negative run": (lambda i: w(i)["pieces"][0].update(offset=-1), "is no index"),
    "fraction": (lambda i: w(i).update(shape=[30.0, 20]), "is no index"),
    "truth": (lambda i: w(i)["pieces"][0].update(offset=True), "is no index"),
    "other shape": (lambda i: [entry.update(shape=[20, 30]) for entry in (w(i), w(i)["pieces"][0])], "says"),
    "other dtype": (lambda i: w(i).update(dtype="int32"), "is not what its index says"),
    "no dtype": (lambda i: w(i).update(dtype="Tensor"), "unknown dtype 'Tensor'"),
    "unknown key": (lambda i: w(i)["pieces"][0].update(key="model/x"), "cannot be read"),
    "unlisted file": (lambda i: w(i)["pieces"][0].update(file="rank-00009.safetensors"), "does not list"),
    "state as weights": (lambda i: w(i)["pieces"][0].update(file="state.pt"), "does not list"),
    "no state": (lambda i: [i["files"].pop("state.pt")], "does not list state.pt"),
    "text": (lambda i: {**i, "tensors": "none"}, "is no index"),
    "list": (lambda i: {**i, "files": [1]}, "is no index"),
    "later format": (lambda i: {**i, "format": 2}, "of format 2, this version of lab reads 1"),
    "no format": (lambda i: {**i, "format": None}, "is no index"),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_index(checkpoint: Path, case: str) -> None:
    change, problem = CRAFTED[case]
    sign(checkpoint, change)
    assert_named(checkpoint, problem)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "1", "{}", "[" * 100_000, '{"format": 1}', "\0", '{"format":' + "9" * 5000]
)
def test_text_that_is_no_index(checkpoint: Path, text: str) -> None:
    (checkpoint / "index.json").write_text(text)
    assert_named(checkpoint)
    (checkpoint / "index.json").write_bytes(b"\xff\xfe" + text.encode())
    assert_named(checkpoint)
