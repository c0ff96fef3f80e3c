"""Checkpoints whose checksums are right and whose content is not: one line each, never a traceback, never accepted."""

from __future__ import annotations

import copy
import io
import json
import os
import re
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.callbacks.resumable import check_alike, read_training
from lab.checkpoint.access import StateAccess
from lab.checkpoint.format import CheckpointReader, Piece
from lab.checkpoint.rng import rng_state, set_rng_state
from lab.checkpoint.writer import write_checkpoint
from lab.errors import CheckpointError
from lab.tasks.detection.task import DetectionTask
from lab.tasks.recommendation.task import RecommendationTask
from tests.security.test_gadgets import EVAL, SIZES, SPEC, resign

ARGUMENTS: dict[str, Any] = {
    "net": {"_target_": "detr_tiny", **SIZES},
    "spec": SPEC,
    "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0},
    "scheduler": {"name": "constant"},
    "max_steps": 4,
    "eval": EVAL,
}


@pytest.fixture(scope="module")
def good() -> tuple[dict[str, Piece], dict[str, Any]]:
    """The tensors and the plain data of a checkpoint as they should be."""
    torch.manual_seed(0)
    pieces = StateAccess().pieces(DetectionTask(**copy.deepcopy(ARGUMENTS)), None)
    return pieces, {
        "step": 3,
        "task": "detection",
        "hyper_parameters": copy.deepcopy(ARGUMENTS),
        "weights_kind": "raw",
        "world_size": 1,
        "versions": {},
    }


def written(folder: Path, pieces: dict[str, Piece], state: Any, step: int = 3) -> Path:
    """Write a checkpoint whose state is anything at all; its index and checksums are right."""
    path = folder / "best.ckpt"
    write_checkpoint(path, pieces, {}, step)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    (path / "state.pt").write_bytes(buffer.getvalue())
    resign(path)
    return path


def line_of(call: Callable[[], Any], path: Path) -> str:
    """Return the one line that a call is refused with."""
    with pytest.raises(CheckpointError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert len(line) < 900
    assert "weights_only" not in line
    return line


@pytest.mark.parametrize("kind", ["detection", "DetectionTask"])  # the class: as checkpoints once named it
def test_what_is_right_is_taken(kind: str, tmp_path: Path, good: Any) -> None:
    pieces, state = good
    path = written(tmp_path, pieces, {**state, "task": kind})
    task = DetectionTask.load_from_checkpoint(path)
    assert task.trained_steps == 3
    assert all(torch.equal(value, pieces[f"model/{name}"].data) for name, value in task.state_dict().items())


FLAT = {"thing_labels": [], "item_names": [], "item_counts": [], "num_sequences": 0, "num_events": 0}
"""What the specs of all kinds held once."""


def test_the_flat_spec_of_before_is_taken(tmp_path: Path, good: Any) -> None:
    pieces, state = good
    state = copy.deepcopy(state)
    state["hyper_parameters"]["spec"] = {**SPEC, **FLAT}
    state["hyper_parameters"]["eval"] = {"name": "none"}  # as it was called then
    task = DetectionTask.load_from_checkpoint(written(tmp_path, pieces, state))
    assert task.hparams["spec"] == {**SPEC, "resize": [], "grey": None}
    assert task.spec.class_names == ("a", "b")


def set_at(*keys: Any, to: Any) -> Callable[[Any], Any]:
    def change(state: Any) -> Any:
        *above, last = keys
        for key in above:
            state = state[key]
        state[last] = to
        return None

    return change


def drop(*keys: Any) -> Callable[[Any], Any]:
    def change(state: Any) -> Any:
        *above, last = keys
        for key in above:
            state = state[key]
        del state[last]

    return change


def cycle(state: Any) -> Any:
    state["hyper_parameters"]["net"]["again"] = state["hyper_parameters"]


def bomb(state: Any) -> Any:
    """A few bytes that stand for 2^60 values."""
    value: list[Any] = [0]
    for _ in range(60):
        value = [value, value]
    state["hyper_parameters"]["net"]["wide"] = value


HP = "hyper_parameters"
CONTENT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "none": (lambda _: 0, "holds no dictionary"),
    "a list": (lambda _: [1, 2], "holds no dictionary"),
    "a tensor": (lambda _: torch.zeros(2), "holds no dictionary"),
    "an empty one": (lambda _: {}, "its state has no task"),
    "keys of another kind": (lambda state: {**state, (1, 2): 3}, "keys that are neither strings nor numbers"),
    "a class": (set_at("versions", to=OrderedDict), "which is no plain data"),
    "a function": (set_at("versions", to=torch._utils._rebuild_tensor_v2), "which is no plain data"),
    "itself": (cycle, "or holds itself"),
    "a bomb": (bomb, "nested deeper|more than"),
    "no task": (drop("task"), "its state has no task"),
    "task none": (set_at("task", to=None), "its task is None"),
    "another task": (set_at("task", to="segmentation"), "is of a model for segmentation, not for detection"),
    "another task's class": (
        set_at("task", to="SegmentationTask"),
        "is of a model for segmentation, not for detection",
    ),
    "no such task": (set_at("task", to="os.system"), "is of a model for os.system"),
    "no hyper-parameters": (drop(HP), "its state has no hyper_parameters"),
    "hyper-parameters none": (set_at(HP, to=None), "its hyper_parameters are None"),
    "hyper-parameters a list": (set_at(HP, to=[1]), "its hyper_parameters are a list"),
    "hyper-parameters a text": (set_at(HP, to="x\ny"), r"its hyper_parameters are 'x\\ny'"),
    "hyper-parameters a tensor": (set_at(HP, to=torch.zeros(1)), "its hyper_parameters are a Tensor"),
    "hyper-parameters empty": (set_at(HP, to={}), "lack 'net'"),
    "no net": (drop(HP, "net"), "lack 'net'"),
    "no eval": (drop(HP, "eval"), "lack 'eval'"),
    "one more": (set_at(HP, "hook", to=1), "have 'hook', which no task takes"),
    "net none": (set_at(HP, "net", to=None), "have None as net"),
    "net a name": (set_at(HP, "net", to="detr_tiny"), "as net, which is a dict"),
    "net a list": (set_at(HP, "net", to=[{}]), "as net, which is a dict"),
    "net a tensor inside": (set_at(HP, "net", "dropout", to=torch.zeros(1)), "holds a Tensor|hold"),
    "no target": (drop(HP, "net", "_target_"), "name None as the network"),
    "target none": (set_at(HP, "net", "_target_", to=None), "name None as the network"),
    "target a list": (set_at(HP, "net", "_target_", to=["detr_tiny"]), "name a list as the network"),
    "target empty": (set_at(HP, "net", "_target_", to=""), "as the network"),
    "target unknown": (set_at(HP, "net", "_target_", to="detr_tinny"), "unknown model 'detr_tinny'"),
    "target of dots": (set_at(HP, "net", "_target_", to="lab..x"), "is no dotted path"),
    "target too long": (set_at(HP, "net", "_target_", to="torch." + "x" * 5000 + ".y"), "has no 'x"),
    "target that is a path": (set_at(HP, "net", "_target_", to="torch./etc/passwd.x"), "is no dotted path"),
    "target with a zero": (set_at(HP, "net", "_target_", to="torch.a\0b.c"), "is no dotted path"),
    "target with a line": (set_at(HP, "net", "_target_", to="detr\ntiny"), "unknown model"),
    "unknown argument": (set_at(HP, "net", "width", to=3), "takes no argument 'width'"),
    "argument of another type": (set_at(HP, "net", "num_queries", to="ten"), "num_queries=ten: detr_tiny takes int"),
    "argument of many lines": (set_at(HP, "net", "num_queries", to="a\n\x1b[2J" * 999), r"num_queries=a \\x1b\[2Ja"),
    "argument none": (set_at(HP, "net", "embed_dim", to=None), "net.embed_dim=null: detr_tiny takes int"),
    "another size": (set_at(HP, "net", "embed_dim", to=16), "does not fit"),
    "a size beyond memory": (set_at(HP, "net", "feedforward_dim", to=10**11), "should be less than or equal to"),
    "a size that is another": (set_at(HP, "net", "feedforward_dim", to=99_999), "does not fit"),
    "a size beyond counting": (set_at(HP, "net", "feedforward_dim", to=10**30), "should be less than or equal to"),
    "spec none": (set_at(HP, "spec", to=None), "have None as spec"),
    "spec empty": (set_at(HP, "spec", to={}), "spec has no task"),
    "spec of another kind": (set_at(HP, "spec", "task", to="segmentation"), "its data is for segmentation"),
    "spec with a text for names": (set_at(HP, "spec", "class_names", to="ab"), "spec.class_names is 'ab', and no list"),
    "spec with numbers for names": (set_at(HP, "spec", "class_names", to=[1, 2]), "holds 1, which is no str"),
    "spec with other names": (set_at(HP, "spec", "class_names", to=["a", "b", "c"]), "does not fit"),
    "spec without names": (drop(HP, "spec", "class_names"), "does not fit|num_classes=0: should be"),
    "spec with more": (set_at(HP, "spec", "colour", to=1), "spec has no 'colour'"),
    "spec with a negative": (set_at(HP, "spec", "input_shape", to=[-1]), "holds -1, which is no count"),
    "spec with a share": (set_at(HP, "spec", "input_shape", to=[0.5]), "holds 0.5, which is no int"),
    "spec with what another kind has": (set_at(HP, "spec", "num_events", to=7), "spec has no 'num_events'"),
    "spec with a list of another kind": (set_at(HP, "spec", "item_counts", to=[1]), "spec has no 'item_counts'"),
    "steps a text": (set_at(HP, "max_steps", to="4"), "as max_steps, which is a int"),
    "steps true": (set_at(HP, "max_steps", to=True), "as max_steps, which is a int"),
    "eval none": (set_at(HP, "eval", to=None), "have None as eval"),
    "optimizer a list": (set_at(HP, "optimizer", to=[]), "as optimizer, which is a dict"),
    "no kind of weights": (drop("weights_kind"), "its state has no weights_kind"),
    "another kind of weights": (set_at("weights_kind", to="best"), "neither raw nor averaged"),
    "another step": (set_at("step", to=4), "its index is of step 3, its state of 4"),
    "a step that is a text": (set_at("step", to="3"), "its index is of step 3, its state of '3'"),
    "a step that is true": (set_at("step", to=True), "its index is of step 3, its state of True"),
}


@pytest.mark.parametrize("case", CONTENT)
def test_content_that_is_wrong(case: str, good: Any, tmp_path: Path) -> None:
    change, problem = CONTENT[case]
    pieces, state = good
    state = copy.deepcopy(state)
    changed = change(state)
    path = written(tmp_path, pieces, state if changed is None else changed)
    line = line_of(lambda: DetectionTask.load_from_checkpoint(path), path)
    assert re.search(problem, line), line


def test_a_recommender_is_not_made_of_a_detector(good: Any, tmp_path: Path) -> None:
    pieces, state = good
    path = written(tmp_path, pieces, state)
    assert "not for recommendation" in line_of(lambda: RecommendationTask.load_from_checkpoint(path), path)
    state = copy.deepcopy(state)
    state["task"] = "recommendation"
    path = written(tmp_path, pieces, state)
    assert "its data is for detection" in line_of(lambda: RecommendationTask.load_from_checkpoint(path), path)
    state[HP]["spec"] = {"task": "recommendation", "item_names": ["a"], "item_counts": [1]}
    path = written(tmp_path, pieces, state)
    assert "is no recommender" in line_of(lambda: RecommendationTask.load_from_checkpoint(path), path)
    state[HP]["net"] = {"_target_": "popularity"}
    path = written(tmp_path, pieces, state)
    assert "no RecommendationTask can be made" in line_of(lambda: RecommendationTask.load_from_checkpoint(path), path)


def test_tensors_of_another_kind_of_number(good: Any, tmp_path: Path) -> None:
    pieces, state = good
    first = next(name for name, piece in pieces.items() if piece.data.is_floating_point())
    whole = {**pieces, first: Piece(pieces[first].data.long(), pieces[first].shape, pieces[first].offset)}
    path = written(tmp_path, whole, state)
    assert "int64 there" in line_of(lambda: DetectionTask.load_from_checkpoint(path), path)


def sign(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the index as somebody would who knows the format: its checksum fits."""
    content = json.loads((path / "index.json").read_text())
    content.pop("checksum")
    change(content)
    dump = lambda value: json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n"  # noqa: E731
    (path / "index.json").write_text(dump({**content, "checksum": zlib.crc32(dump(content).encode())}))


def first_tensor(index: dict[str, Any]) -> dict[str, Any]:
    return next(iter(index["tensors"].values()))


INDICES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown key": (lambda i: i.update(hook="x"), "a key 'hook' that format 1 does not know"),
    "unknown key of a file": (lambda i: i["files"]["state.pt"].update(url="x"), "a key 'url'"),
    "unknown key of a tensor": (lambda i: first_tensor(i).update(device="cuda"), "a key 'device'"),
    "unknown key of a piece": (lambda i: first_tensor(i)["pieces"][0].update(stride=1), "a key 'stride'"),
    "a step of 10^18": (lambda i: i.update(step=10**18), "its step 1000000000000000000 is none"),
    "a step of 10^300": (lambda i: i.update(step=10**300), "is none that a training reaches"),
    "a negative step": (lambda i: i.update(step=-1), "is no index"),
    "a step with a fraction": (lambda i: i.update(step=3.0), "is no index"),
    "a step that is true": (lambda i: i.update(step=True), "is no index"),
    "another step": (lambda i: i.update(step=10**9), "its index is of step 1000000000, its state of 3"),
}


@pytest.mark.parametrize("case", INDICES)
def test_indices_that_are_wrong(case: str, good: Any, tmp_path: Path) -> None:
    change, problem = INDICES[case]
    path = written(tmp_path, *good)
    sign(path, change)
    assert problem in line_of(lambda: DetectionTask.load_from_checkpoint(path), path)


@pytest.mark.parametrize("name", ["index.json", "state.pt", "rank-00000.safetensors"])
@pytest.mark.parametrize("kind", ["link", "dead link", "loop", "pipe", "folder"])
def test_links_and_pipes_are_not_opened(name: str, kind: str, good: Any, tmp_path: Path) -> None:
    path = written(tmp_path, *good)
    elsewhere = tmp_path / "elsewhere"
    (path / name).rename(elsewhere)
    match kind:
        case "link":
            (path / name).symlink_to(elsewhere)
        case "dead link":
            (path / name).symlink_to(tmp_path / "nowhere")
        case "loop":
            (path / name).symlink_to(path / name)
        case "pipe":
            os.mkfifo(path / name)
        case "folder":
            (path / name).mkdir()
    assert f"its {name} is no plain file" in line_of(lambda: DetectionTask.load_from_checkpoint(path), path)


@pytest.mark.parametrize("path", ["nowhere.ckpt", "loop.ckpt", "x" * 5000, "a\0b", "file.ckpt/inside", "/dev/null"])
def test_paths_at_which_there_is_no_checkpoint(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop.ckpt").symlink_to("loop.ckpt")
    Path("file.ckpt").touch()
    with pytest.raises(CheckpointError) as caught:
        CheckpointReader(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def training(good: Any) -> dict[str, Any]:
    """Return the plain data of a checkpoint that a training goes on from."""
    return {
        **copy.deepcopy(good[1]),
        "best": 0.5,
        "optimizer_groups": [{"params": ["net.a"], "lr": 0.1, "betas": (0.9, 0.999)}],
        "lr_schedulers": [{"last_epoch": 3, "base_lrs": [0.1], "_last_lr": [0.1]}],
        "precision": {},
        "rng": [rng_state()],
        "network": {},
    }


TRAINING: dict[str, tuple[Callable[[Any], Any], str]] = {
    "weights alone": (drop("optimizer_groups"), "holds only weights"),
    "groups none": (set_at("optimizer_groups", to=None), "its optimizer_groups is a NoneType"),
    "groups of texts": (set_at("optimizer_groups", to=["x"]), "its optimizer_groups are no dictionaries"),
    "groups without parameters": (drop("optimizer_groups", 0, "params"), "name no parameters"),
    "no schedules": (drop("lr_schedulers"), "its state has no lr_schedulers"),
    "schedules a dict": (set_at("lr_schedulers", to={}), "its lr_schedulers is a dict"),
    "best a text": (set_at("best", to="0.5"), "its best is a str"),
    "precision none": (set_at("precision", to=None), "its precision is a NoneType"),
    "network a list": (set_at("network", to=[]), "its network is a list"),
    "network of numbers": (set_at("network", to={"h": 1}), "its network holds more than tensors"),
    "no rng": (drop("rng"), "its state has no rng"),
    "rng empty": (set_at("rng", to=[]), "its rng is empty"),
    "rng of texts": (set_at("rng", to=["x"]), "its rng are no dictionaries"),
    "rng without torch": (drop("rng", 0, "torch"), "its rng has no torch"),
    "rng of python short": (set_at("rng", 0, "python", to=[3, [1], None]), "Python's generator"),
    "rng of python negative": (set_at("rng", 0, "python", 1, 0, to=-1), "Python's generator"),
    "rng of numpy none": (set_at("rng", 0, "numpy", to=None), "numpy's generator"),
    "rng of numpy short": (set_at("rng", 0, "numpy", 1, to=torch.zeros(3)), "numpy's and torch's"),
    "rng of torch a list": (set_at("rng", 0, "torch", to=[1, 2]), "numpy's and torch's"),
    "rng of torch floats": (set_at("rng", 0, "torch", to=torch.zeros(5056)), "numpy's and torch's"),
    "rng of cuda": (set_at("rng", 0, "cuda", to=[1]), "CUDA's"),
    "ema none": (set_at("ema", to=None), "its ema counts no updates"),
    "ema of texts": (set_at("ema", to={"updates": "9"}), "its ema counts no updates"),
    "another step": (set_at("step", to=2), "its index is of step 3, its state of '2'"),
}


@pytest.mark.parametrize("case", TRAINING)
def test_a_training_does_not_go_on_from_it(case: str, good: Any, tmp_path: Path) -> None:
    change, problem = TRAINING[case]
    state = training(good)
    assert read_training(CheckpointReader(written(tmp_path, {}, state)), "detection")["best"] == 0.5
    change(state)
    path = written(tmp_path, {}, state)
    assert problem in line_of(lambda: read_training(CheckpointReader(path)), path)


def test_a_training_goes_on_from_its_own_task_and_values(good: Any, tmp_path: Path) -> None:
    state = training(good)
    path = written(tmp_path, {}, state)
    reader = CheckpointReader(path)
    assert "not for segmentation" in line_of(lambda: read_training(reader, "segmentation"), path)
    now = {"lr": torch.tensor(0.1), "betas": (0.9, 0.99), "eps": 1e-8, "foreach": None, "amsgrad": False}
    check_alike(reader, "groups", {"lr": 1, "betas": [0.5, 1], "foreach": True}, now, "lr")
    for saved, problem in (
        ({}, "lack 'lr'"),
        ({"lr": "fast"}, "'lr' of its groups is a str"),
        ({"lr": 0.1, "betas": 0.9}, "'betas'"),
        ({"lr": 0.1, "betas": [0.9]}, "'betas'"),
        ({"lr": 0.1, "amsgrad": 1}, "'amsgrad'"),
        ({"lr": True}, "'lr'"),
    ):
        assert problem in line_of(lambda saved=saved: check_alike(reader, "groups", saved, now, "lr"), path)


def test_the_states_of_generators_pass_unchanged(tmp_path: Path) -> None:
    before = rng_state()
    path = written(tmp_path, {}, {**{"rng": [before]}, "step": 3})
    torch.rand(3)
    set_rng_state(CheckpointReader(path).state["rng"][0])
    assert torch.equal(rng_state()["torch"], before["torch"])


def test_pickles_in_a_state_are_answered_without_torchs_advice(good: Any, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return print, ("executed",)

    path = written(tmp_path, good[0], {"step": Evil()})
    line = line_of(lambda: DetectionTask.load_from_checkpoint(path), path)
    assert "it names print, and only plain data is read" in line
    for content in (b"", b"\x80", b"PK\x03\x04", b"I1\n.", b"(lp0\n.", os.urandom(99)):
        (path / "state.pt").write_bytes(content)
        resign(path)
        line_of(lambda: DetectionTask.load_from_checkpoint(path), path)
