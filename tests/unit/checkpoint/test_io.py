"""Checkpoints are whole or named as damaged; random numbers go on where they stood."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.checkpoint.io import AtomicCheckpointIO, load_checkpoint, save_atomically
from lab.checkpoint.rng import rng_state, set_rng_state
from lab.errors import CheckpointError

CONTENT = {"state_dict": {"weight": torch.arange(5000.0)}, "lab": {"step": 3}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_atomically(CONTENT, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_round_trip_leaves_nothing_else(file: Path) -> None:
    assert torch.equal(load_checkpoint(file)["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]


def test_every_truncation_and_flip_of_the_weights_is_found(file: Path) -> None:
    whole = file.read_bytes()
    generator = random.Random(0)
    for cut in [0, 1, len(whole) - 1, *(generator.randrange(len(whole)) for _ in range(10))]:
        file.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged"):
            load_checkpoint(file)
    place = whole.index(CONTENT["state_dict"]["weight"].numpy().tobytes())
    for offset in (generator.randrange(20000) for _ in range(10)):
        content = bytearray(whole)
        content[place + offset] ^= 1 << generator.randrange(8)
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged: the checksum"):
            load_checkpoint(file)


def test_failed_write_keeps_the_old_file(file: Path) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_atomically({"state_dict": {}, "bad": lambda: None}, file)
    assert load_checkpoint(file)["lab"] == {"step": 3}
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "problem"),
    [(Evil(), "is damaged or no checkpoint"), ({"model": 1}, "no entry 'state_dict'"), ([1], "no entry")],
)
def test_foreign_files_are_named_and_nothing_is_executed(
    tmp_path: Path, content: Any, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "foreign.ckpt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=problem) as error:
        load_checkpoint(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert "executed" not in capsys.readouterr().out


def test_lightnings_plugin_reads_what_it_writes(tmp_path: Path) -> None:
    io, path = AtomicCheckpointIO(), tmp_path / "folder" / "some.ckpt"
    io.save_checkpoint(CONTENT, path)
    assert io.load_checkpoint(path)["lab"] == {"step": 3}
    io.remove_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        io.load_checkpoint(path)


def test_random_numbers_go_on(tmp_path: Path) -> None:
    def draw() -> list[Any]:
        return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()]

    random.gauss(0, 1)  # leaves the second of its pair for the next call
    np.random.randn()
    save_atomically({"state_dict": {}, "rng": rng_state()}, tmp_path / "rng.ckpt")
    expected = draw()
    for _ in range(3):
        draw()
    set_rng_state(load_checkpoint(tmp_path / "rng.ckpt")["rng"])
    assert draw() == expected
