"""Weights of an older layout are led to the present one by every reader; a checkpoint of an earlier commit loads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import lab
from lab.checkpoint.access import StateAccess
from lab.checkpoint.format import CheckpointReader
from lab.checkpoint.writer import write_checkpoint
from lab.errors import CheckpointError, RegistryError
from lab.models.detr.network import DETR
from lab.registry import create_model, load_weights, migrates, migrations
from lab.registry.migrated import migrated, recorded, require_current
from lab.registry.migrations import RECORD, versions_of
from lab.registry.weights import read_weights
from lab.tasks.detection.task import DetectionTask
from scripts.consolidate_checkpoint import consolidate
from scripts.convert_weights import convert
from tests.old_checkpoints import described, filled, write

NAME = "detr_tiny_09b63f2"
PATH = "lab.models.detr.network.DETR"
IMAGE = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)


def first_logits(net: Any) -> list[float]:
    with torch.no_grad():
        found = net.eval()(IMAGE, torch.zeros(1, 32, 32, dtype=torch.bool))
    return [round(value, 5) for value in found.logits.flatten()[:8].tolist()]


def wanted() -> list[float]:
    return [round(value, 5) for value in described(NAME)["logits_of_filled"]]


def sizes() -> dict[str, Any]:
    net = dict(described(NAME)["state"]["hyper_parameters"]["net"])
    return {**{key: value for key, value in net.items() if key != "_target_"}, "num_classes": 4}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The checkpoint of the commit before versions, as it was."""
    description = described(NAME)
    return write(tmp_path / "old.ckpt", description["state"], filled(description), description["format"])


@pytest.fixture
def ancient(tmp_path: Path) -> Path:
    """The same in a made-up layout of version 1: the head has another name, a matrix is turned, a bias is split."""
    tensors: dict[str, Tensor] = {}
    for name, value in filled(described(NAME)).items():
        own = name.removeprefix("model/net.")
        if own.startswith("class_embed."):
            tensors["model/net.head." + own.removeprefix("class_embed.")] = value
        elif own == "bbox_embed.layers.0.weight":
            tensors[name] = value.T.contiguous()
        elif own == "bbox_embed.layers.0.bias":
            tensors["model/net.first"], tensors["model/net.second"] = value[:5].clone(), value[5:].clone()
        else:
            tensors[name] = value
    return write(tmp_path / "ancient.ckpt", described(NAME)["state"], tensors)


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """DETR in version 3, with the two steps that lead there."""
    monkeypatch.setattr(DETR, "weights_version", 3, raising=False)
    monkeypatch.setattr(migrations, "_registered", {})

    @migrates(PATH, 1)
    def name_the_head(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key.replace("head.", "class_embed.", key.startswith("head.")): state[key] for key in state}

    @migrates(PATH, 2)
    def join_and_turn(state: dict[str, Tensor]) -> dict[str, Tensor]:
        parts = [state.pop("first"), state.pop("second")]
        state["bbox_embed.layers.0.bias"] = torch.cat(parts)
        state["bbox_embed.layers.0.weight"] = state["bbox_embed.layers.0.weight"].T
        return state


def test_a_checkpoint_of_the_commit_before_versions_loads(old: Path) -> None:
    assert first_logits(DetectionTask.load_from_checkpoint(old).net) == wanted()
    assert first_logits(create_model("detr_tiny", pretrained=old, **sizes())) == wanted()
    assert recorded(CheckpointReader(old)) == {}


@pytest.mark.usefixtures("versions")
def test_a_task_s_checkpoint(ancient: Path) -> None:
    task = DetectionTask.load_from_checkpoint(ancient)
    assert first_logits(task.net) == wanted()
    assert first_logits(lab.load(ancient, device="cpu").net) == wanted()
    reader = migrated(CheckpointReader(ancient), task)
    assert "model/net.first" not in reader.names()
    assert reader.names("model/net.class") == ["model/net.class_embed.bias", "model/net.class_embed.weight"]
    bias = filled(described(NAME))["model/net.bbox_embed.layers.0.bias"]
    torch.testing.assert_close(reader.read("model/net.bbox_embed.layers.0.bias"), bias)
    torch.testing.assert_close(reader.read_flat("model/net.bbox_embed.layers.0.bias", 3, 7), bias[3:7])
    torch.testing.assert_close(reader.read_block("model/net.bbox_embed.layers.0.bias", (3,), (4,)), bias[3:7])


@pytest.mark.usefixtures("versions")
def test_weights_of_a_checkpoint_folder(ancient: Path) -> None:
    assert first_logits(create_model("detr_tiny", pretrained=ancient, **sizes())) == wanted()
    net = create_model("detr_tiny", **sizes())
    assert str(load_weights(net, "detr_tiny", ancient)) == f"{ancient}: all keys fit"
    assert first_logits(net) == wanted()


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(("suffix", "prefix"), [("safetensors", ""), ("pth", "module._orig_mod.")])
def test_files_without_a_record_are_told_by_their_keys(tmp_path: Path, ancient: Path, suffix: str, prefix: str) -> None:
    old = {prefix + key.removeprefix("net."): value for key, value in read_weights(ancient).tensors.items()}
    new = {prefix + key.removeprefix("model/net."): value for key, value in filled(described(NAME)).items()}
    for name, state in (("ancient", old), ("present", new)):
        file = tmp_path / f"{name}.{suffix}"
        save_file(state, file) if suffix == "safetensors" else torch.save({"state_dict": state}, file)
        assert read_weights(file).versions is None
        assert first_logits(create_model("detr_tiny", pretrained=file, **sizes())) == wanted(), name


@pytest.mark.usefixtures("versions")
def test_a_file_that_records_its_version_takes_only_the_steps_from_there(tmp_path: Path, ancient: Path) -> None:
    second = {
        key.removeprefix("net.").replace("head.", "class_embed.", key.startswith("net.head.")): value
        for key, value in read_weights(ancient).tensors.items()
    }
    torch.save({"model": second, RECORD: {PATH: 2}}, tmp_path / "second.pth")
    save_file(second, tmp_path / "second.safetensors", metadata={RECORD: json.dumps({PATH: 2})})
    for name in ("second.pth", "second.safetensors"):
        assert first_logits(create_model("detr_tiny", pretrained=tmp_path / name, **sizes())) == wanted()


@pytest.mark.usefixtures("versions")
def test_consolidated_files_keep_the_record(tmp_path: Path, ancient: Path) -> None:
    file = tmp_path / "weights.safetensors"
    consolidate(ancient, file)
    assert "head.bias" in load_file(file)
    assert read_weights(file).versions == {}
    assert first_logits(create_model("detr_tiny", pretrained=file, **sizes())) == wanted()
    with pytest.raises(CheckpointError, match=f"its weights of {PATH} are of version 1, an older one"):
        convert_as_if_lab_had_them(file, tmp_path / "hf.safetensors")


def convert_as_if_lab_had_them(source: Path, target: Path) -> None:
    for function in migrations._registered.values():
        function.__module__ = "lab.models.detr.weights"
    convert(source, target, "detr", "transformers")


@pytest.mark.usefixtures("versions")
def test_what_is_written_says_its_version_and_is_not_migrated_again(tmp_path: Path, ancient: Path) -> None:
    task = DetectionTask.load_from_checkpoint(ancient)
    assert versions_of(task) == {PATH: 3}
    state = {**described(NAME)["state"], RECORD: versions_of(task)}
    write_checkpoint(tmp_path / "new.ckpt", StateAccess().pieces(task, None), state, 2)
    reader = CheckpointReader(tmp_path / "new.ckpt")
    assert migrated(reader, task) is reader
    require_current(reader, task)
    assert first_logits(DetectionTask.load_from_checkpoint(tmp_path / "new.ckpt").net) == wanted()


@pytest.mark.usefixtures("versions")
def test_a_training_does_not_go_on_from_an_older_layout(ancient: Path) -> None:
    task = DetectionTask.load_from_checkpoint(ancient)
    with pytest.raises(CheckpointError) as caught:
        require_current(CheckpointReader(ancient), task)
    assert str(caught.value) == (
        f"{ancient}: its weights of {PATH} are of version 1. Weights are migrated, but optimizer states are not: begin "
        f"a training from them with ckpt='{ancient}' resume=never"
    )


def test_a_missing_step_a_later_version_and_a_failing_step_are_refused(
    ancient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DETR, "weights_version", 2, raising=False)
    monkeypatch.setattr(migrations, "_registered", {})
    missing = f"{ancient}: its weights of {PATH} are of version 1, here it has 2, and no step leads from 1 to 2: "
    for read in (
        DetectionTask.load_from_checkpoint,
        lambda file: create_model("detr_tiny", pretrained=file, **sizes()),
    ):
        with pytest.raises(CheckpointError) as caught:
            read(ancient)
        assert missing in str(caught.value)
    file = tmp_path / "later.pth"
    torch.save({"model": {"x": torch.ones(1)}, RECORD: {PATH: 5}}, file)
    with pytest.raises(CheckpointError, match=f"its weights of {PATH} are of version 5, and this lab knows 2"):
        create_model("detr_tiny", pretrained=file, **sizes())
    present = {key.removeprefix("model/net."): value for key, value in filled(described(NAME)).items()}
    torch.save(present, tmp_path / "of_unknown_origin.pth")
    net = create_model("detr_tiny", pretrained=tmp_path / "of_unknown_origin.pth", **sizes())
    assert first_logits(net) == wanted(), "what fits as it is needs no steps"
    migrates(PATH, 1)(lambda state: {"x": state["absent"]})
    with pytest.raises(CheckpointError, match=r"from version 1 to 2: <lambda> failed \(.*absent"):
        DetectionTask.load_from_checkpoint(ancient)
    with pytest.raises(RegistryError, match=f"{PATH}@1 is migrated twice"):
        migrates(PATH, 1)(read_weights)
    with pytest.raises(RegistryError, match="versions begin at 1"):
        migrates(PATH, 0)(read_weights)


@pytest.mark.parametrize("record", [[1], {"a": "b"}, {"a": True}, {"a": 0}, {3: 1}])
def test_a_damaged_record_is_refused(tmp_path: Path, record: Any) -> None:
    torch.save({"model": {"x": torch.ones(1)}, RECORD: record}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="weights_versions are no version numbers of classes"):
        read_weights(tmp_path / "bad.pth")
    state = {**described(NAME)["state"], RECORD: record}
    with pytest.raises(CheckpointError, match="weights_versions are no version numbers of classes"):
        recorded(CheckpointReader(write(tmp_path / "bad.ckpt", state, filled(described(NAME)))))
    save_file({"x": torch.ones(1)}, tmp_path / "bad.safetensors", metadata={RECORD: "{"})
    with pytest.raises(CheckpointError, match="weights_versions are no JSON"):
        read_weights(tmp_path / "bad.safetensors")


PACKAGE = """
from torch import nn


class Part(nn.Module):
    weights_version = 2

    def __init__(self):
        super().__init__()
        self.new = nn.Linear(1, 1)


class Whole(nn.Module):
    weights_version = 2

    def __init__(self):
        super().__init__()
        self.left, self.right = Part(), Narrow()


class Narrow(Part):
    pass
"""
STEPS = """
from lab.registry import migrates


@migrates("house_of_parts.network.Whole", 1)
def sides(state):
    return {key.replace("l.", "left.").replace("r.", "right."): value for key, value in state.items()}


@migrates("house_of_parts.network.Part", 1)
def younger(state):
    return {key.replace("old.", "new."): value for key, value in state.items()}
"""


def test_steps_are_found_beside_the_class_and_parents_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only ``weights.py`` beside the class is imported; a subclass has the version of the class that says it."""
    package = tmp_path / "house_of_parts"
    package.mkdir()
    for name, text in (("__init__", ""), ("network", PACKAGE), ("weights", STEPS)):
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(migrations, "_registered", {})
    import house_of_parts.network as house

    assert "house_of_parts.weights" not in sys.modules
    net: nn.Module = house.Whole()
    old = {f"{side}.old.{name}": torch.full((1,) * n, float(n)) for side in "lr" for name, n in PARTS}
    found = migrations.migrate(old, migrations.steps_to(net, {}, "here"), "here")
    assert "house_of_parts.weights" in sys.modules
    net.load_state_dict(found, strict=True)
    assert versions_of(net) == {"house_of_parts.network.Whole": 2, "house_of_parts.network.Part": 2}


PARTS = (("weight", 2), ("bias", 1))


def test_every_version_of_lab_s_own_classes_can_be_reached() -> None:
    """Of each class in lab that says a version, the steps from 1 are there."""
    import importlib
    import inspect
    import pkgutil

    import lab.layers
    import lab.models

    for place in (lab.models, lab.layers):
        for item in pkgutil.walk_packages(place.__path__, f"{place.__name__}."):
            module = importlib.import_module(item.name)
            for kind in vars(module).values():
                if inspect.isclass(kind) and kind.__module__ == item.name and "weights_version" in vars(kind):
                    path, own = f"{item.name}.{kind.__qualname__}", vars(kind)["weights_version"]
                    for version in range(1, own):
                        migrations._function(path, version, own, "lab")
