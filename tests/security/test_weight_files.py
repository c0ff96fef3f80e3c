"""Files given as weights that are none, or that are wrapped: one line each, or taken."""

from __future__ import annotations

import pickle
import random
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lab.checkpoint.unpickling import reason_of
from lab.errors import CheckpointError
from lab.experiment.assembly import check_weights
from lab.registry.create import create_model, load_weights
from lab.registry.pretrained import load_pretrained, read_state_dict
from lab.registry.weights import unwrap


def refused(path: Path | str) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(path)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"weights {str(path)[:200]}")
    assert len(line) < 700
    assert "weights_only" not in line
    assert "Re-running" not in line
    return line


class Evil:
    def __reduce__(self) -> Any:
        return print, ("executed",)


class Silent(Exception):
    """An error that says nothing."""


TORCH: dict[str, tuple[Any, str]] = {
    "a text": ("weights", "hold a str"),
    "a number": (3, "hold a int"),
    "none": (None, "hold a NoneType"),
    "a list": ([torch.zeros(1)], "hold a list"),
    "a tuple": ((torch.zeros(2), torch.zeros(2)), "hold a tuple"),
    "a tensor": (torch.zeros(3), "hold a Tensor"),
    "an empty dict": ({}, "hold no tensors by name"),
    "a dict of numbers": ({"a": 1}, "hold no tensors by name"),
    "a dict of lists": ({"state_dict": {"a": [1.0]}}, "hold no tensors by name"),
    "a list in the place of weights": ({"state_dict": [1]}, "hold no tensors by name"),
    "numbers for names": ({0: torch.zeros(1)}, "name a tensor '0', which is no string"),
    "a sparse tensor": ({"a": torch.eye(3).to_sparse()}, "a is a sparse_coo torch.float32 tensor"),
    "complex numbers": ({"a": torch.zeros(2, dtype=torch.complex64)}, "only dense real ones"),
    "a meta tensor": ({"a": torch.zeros(2, device="meta")}, "a is a meta tensor"),
    "a network": (nn.Linear(2, 2), "it names torch.nn.modules.linear.Linear, and only plain data is read"),
    "code": ({"a": Evil()}, "it names print, and only plain data is read"),
    "a function": ({"a": torch.zeros}, "it names getattr|it names torch.zeros"),
    "a path": ({"a": Path("x")}, "it names pathlib.PosixPath"),
}


@pytest.mark.parametrize("case", TORCH)
def test_torch_files_that_hold_no_weights(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, problem = TORCH[case]
    for suffix in (".pth", ".ckpt"):
        torch.save(content, tmp_path / f"w{suffix}")
        line = refused(tmp_path / f"w{suffix}")
        assert any(part in line for part in problem.split("|")), line
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("text", "hold a str"),
        ([1], "hold a list"),
        (np.zeros(3), "hold a ndarray"),
        (np.array(["a", None], dtype=object), "hold a ndarray"),
        ({"a": np.array(["a", None], dtype=object)}, "a is an array of object, and no numbers"),
        ({"a": np.array(["a", "b"])}, "a is an array of <U1, and no numbers"),
        ({"a": np.zeros(2, dtype="complex64")}, "an array of complex64"),
        ({"a": np.zeros(2, dtype="datetime64[s]")}, "an array of datetime64"),
        ({"a": "b"}, "hold no tensors by name"),
        ({"model": {"a": Evil()}}, "it names builtins.print|it names __builtin__.print"),
    ],
)
def test_pickles_of_arrays_that_hold_no_weights(content: Any, problem: str, tmp_path: Path) -> None:
    for protocol in (0, 2, 5):
        (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol))
        line = refused(tmp_path / "w.pkl")
        assert any(part in line for part in problem.split("|")), line


def test_an_array_is_as_large_as_its_bytes(tmp_path: Path) -> None:
    """A few bytes that declare 2^40 numbers take no memory."""
    for call in (
        b"cnumpy\nndarray\n((L1099511627776L\ntS'f8'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L1099511627776L\ntS'b'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(S'x'\n(I0\ntS'b'\ntR.",
    ):
        (tmp_path / "w.pkl").write_bytes(call)
        assert "an array of a size that it does not hold" in refused(tmp_path / "w.pkl")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pkl", ".safetensors"])
def test_bytes_that_are_nothing(suffix: str, tmp_path: Path) -> None:
    generator = random.Random(0)
    torch.save({"a": torch.ones(50)}, tmp_path / "good.pth")
    good = (tmp_path / "good.pth").read_bytes()
    for content in (
        b"",
        b"\0",
        b"PK\x03\x04",
        b"text",
        b"\x80\x02.",
        b".",
        good[: len(good) // 2],
        generator.randbytes(99),
    ):
        (tmp_path / f"w{suffix}").write_bytes(content)
        refused(tmp_path / f"w{suffix}")
    for line in ("none", "x" * 5000):
        refused(tmp_path / f"{line}{suffix}")
    (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    assert "do not exist" in refused(tmp_path / f"loop{suffix}")
    assert "no plain file" in refused("/dev/null")


def test_torch_script_is_not_run(tmp_path: Path) -> None:
    torch.jit.script(nn.ReLU()).save(tmp_path / "w.pt")
    refused(tmp_path / "w.pt")


def test_an_error_without_words_has_its_name() -> None:
    assert reason_of(Silent()) == "Silent"
    assert reason_of(EOFError("")) == "EOFError"
    assert reason_of(ValueError("a\nb")) == "ValueError: a b"


def test_what_is_harmless_beside_weights_is_let_pass(tmp_path: Path) -> None:
    weights = OrderedDict(a=torch.ones(2))
    torch.save({"model": weights, "args": Namespace(lr=1), "epoch": 3}, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth").keys() == {"a"}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": {"a": np.ones((2, 3), "f4"), "n": np.int64(3)}}))
    assert torch.equal(read_state_dict(tmp_path / "w.pkl")["a"], torch.ones(2, 3))


SIZES = {"num_queries": 2, "embed_dim": 8, "num_heads": 1, "num_decoder_layers": 1, "feedforward_dim": 8}


def small() -> nn.Module:
    return create_model("detr_tiny", num_classes=2, num_encoder_layers=1, **SIZES)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "_orig_mod.",
        "module.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "net._orig_mod.",
        "model._orig_mod.",
        "model.net.",
        "model.module._orig_mod.",
        "_orig_mod.module.model.net.",
        "_forward_module.module.module._orig_mod._orig_mod.",
    ],
)
def test_wrappers_are_taken_off_in_any_order_and_depth(prefix: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source, target = small(), small()
    state = {prefix + key: value for key, value in source.state_dict().items()}
    torch.save(
        {"state_dict": {**state, "criterion.empty_weight": torch.ones(3)} if prefix else state}, tmp_path / "w.pth"
    )
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "w.safetensors")
    for file in ("w.pth", "w.safetensors"):
        report = load_pretrained(target, tmp_path / file)
        assert not report.missing
        assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


def test_a_converter_sees_the_keys_without_wrappers(tmp_path: Path) -> None:
    sizes = {"num_items": 5, "max_length": 4, "embed_dim": 8, "num_heads": 1, "num_blocks": 1}
    source, target = create_model("sasrec", **sizes), create_model("sasrec", **sizes)
    for prefix in ("module._orig_mod.", "net.module."):
        torch.save({prefix + key: value for key, value in source.state_dict().items()}, tmp_path / "w.pth")
        load_weights(target, "sasrec", tmp_path / "w.pth")
        assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


def test_wrappers_of_parts_and_names_that_are_the_networks_own() -> None:
    one = torch.ones(1)
    own: dict[str, Tensor] = {"module.a": one, "module.b": one, "head.w": one, "model.net.c": one}
    assert unwrap(own, own).keys() == own.keys()
    wrapped = {f"module.{key}": value for key, value in own.items()}
    assert unwrap(wrapped, own).keys() == own.keys()
    parts = {"module.a": one, "module.b": one, "head._orig_mod.w": one, "model._orig_mod.net.module.c": one}
    assert unwrap(parts, own).keys() == own.keys()
    assert unwrap({"other.a": one}, own).keys() == {"other.a"}
    deep = {"module." * 5000 + "a": one}
    assert len(unwrap(deep, own)) == 1


def test_names_that_meet_are_not_lost() -> None:
    """Two keys that would become one both stay: what does not fit is told."""
    one, two = torch.ones(1), torch.zeros(1)
    found = unwrap({"head.w": one, "head._orig_mod.w": two}, {"head.w": one})
    assert found.keys() == {"head.w", "head._orig_mod.w"}


def test_weights_are_compared_on_the_meta_device(tmp_path: Path) -> None:
    """As check=true does: names and shapes, nothing filled, and no warning that copying does nothing."""
    source = small()
    torch.save(source.state_dict(), tmp_path / "w.pth")
    with torch.device("meta"):
        target = small()
    assert not load_weights(target, "detr_tiny", tmp_path / "w.pth").missing
    state = source.state_dict()
    torch.save({f"decoder.{key}": value for key, value in state.items()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"weights do not fit: .*missing"):
        load_weights(target, "detr_tiny", tmp_path / "w.pth")
    key = next(key for key, value in state.items() if value.ndim == 4)
    torch.save({**state, key: state[key][:1]}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="do not fit: shape of"):
        load_weights(target, "detr_tiny", tmp_path / "w.pth")


def test_a_check_compares_weights_and_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("the network was asked"))
    source = small()
    torch.save({f"module._orig_mod.{key}": value for key, value in source.state_dict().items()}, tmp_path / "w.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    with torch.device("meta"):
        task: Any = SimpleNamespace(net=small())

    def check(weights: Path | str, target: str = "detr_tiny") -> str:
        model = {"pretrained": str(weights), "net": {"_target_": target}}
        return check_weights({"ckpt": None, "stage": "fit", "model": model, "paths": {"weights_dir": tmp_path}}, task)

    assert "all keys fit" in check(tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="weights do not fit"):
        check(tmp_path / "other.pth")
    assert check("coco", "detr_resnet50").startswith("coco: not compared")
