"""physicsnemo's ``.mdlus``: what is read, and that nothing else is: no code, no bomb, no archive of another kind."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lab.errors import CheckpointError
from lab.registry.mdlus import read_mdlus, write_mdlus
from lab.registry.weights import read_weights

ARGUMENTS = json.dumps({"__name__": "AFNO", "__module__": "x", "__args__": {}})


class _Runs:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch mdlus_has_run",)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def archive(path: Path, members: dict[str, bytes | str], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_tensors_are_read_as_written(tmp_path: Path) -> None:
    state = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)}
    write_mdlus(tmp_path / "net.mdlus", state, "AFNO", "physicsnemo.models.afno.afno", {"depth": 2})
    found = read_weights(tmp_path / "net.mdlus").tensors
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())
    assert read_mdlus(tmp_path / "net.mdlus", "meta")["a.weight"].is_meta


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"args.json": ARGUMENTS}, "hold model.pt 0 times"),
        ({"model.pt": saved({"a": torch.ones(1)})}, "hold args.json 0 times"),
        ({"model.pt": saved({"a": torch.ones(1)}), "args.json": "[1"}, "args.json is no JSON"),
        ({"model.pt": saved({"a": torch.ones(1)}), "args.json": "[1]"}, "args.json is a list"),
        ({"model.pt": saved({"a": torch.ones(1)}), "args.json": "{}"}, "names no class"),
        ({"model.pt": saved([1]), "args.json": ARGUMENTS}, "holds a list, and no tensors by name"),
        ({"model.pt": b"no tensors", "args.json": ARGUMENTS}, "cannot be read as tensors alone"),
        ({"model.pt": saved({"a": _Runs()}), "args.json": ARGUMENTS}, "cannot be read as tensors alone"),
        ({**{f"{index}": b"" for index in range(99)}, "model.pt": b""}, "hold 100 files"),
    ],
)
def test_other_content_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes | str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path / "net.mdlus", members)
    with pytest.raises(CheckpointError, match=message) as raised:
        read_weights(path)
    assert "\n" not in str(raised.value)
    assert not Path("mdlus_has_run").exists()


def test_archives_that_fill_the_memory_and_other_archives_are_refused(tmp_path: Path) -> None:
    members = {"model.pt": bytes(1 << 25), "args.json": ARGUMENTS}
    path = archive(tmp_path / "bomb.mdlus", members, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"model\.pt unpacks from"):
        read_weights(path)
    with tarfile.open(tmp_path / "old.mdlus", "w") as tar:
        tar.add(path, "model.pt")
    with pytest.raises(CheckpointError, match="a tar archive, as older versions"):
        read_weights(tmp_path / "old.mdlus")
    (tmp_path / "text.mdlus").write_text("no zip")
    with pytest.raises(CheckpointError, match=r"are no \.mdlus zip"):
        read_weights(tmp_path / "text.mdlus")
    content = archive(tmp_path / "cut.mdlus", {"model.pt": saved({"a": torch.ones(999)}), "args.json": ARGUMENTS})
    content.write_bytes(content.read_bytes().replace(b"\x00\x00\x80\x3f" * 900, b"\x01" * 3600))
    with pytest.raises(CheckpointError, match="cannot be unpacked"):
        read_weights(content)
