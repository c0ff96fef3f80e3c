"""Red team: what was found to run code from a config or a checkpoint, and its neighbours, leaves no trace.

Each gadget would make the file ``marker`` if it were called with its arguments. It is tried through ``lab.build``,
through the check of a command line, and as the hyper-parameters of a checkpoint: at the root, nested, in a list, as a
partial.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import lab
from lab.checkpoint.access import StateAccess
from lab.checkpoint.writer import write_checkpoint
from lab.config.compose import compose_config
from lab.errors import CheckpointError, ConfigError, LabError
from lab.experiment.assembly import build_data
from lab.launch.targets import check_targets
from lab.registry.allowed import sealed
from lab.registry.create import create_model
from lab.tasks.detection.task import DetectionTask
from lab.tasks.recommendation.task import RecommendationTask
from lab.tasks.segmentation.task import SegmentationTask

MARKER = "@marker"
EVIL = "@evil"
SHELL: dict[str, Any] = {"_args_": [f"touch {MARKER}"]}
CODE: dict[str, Any] = {"_args_": [f"open({MARKER!r}, 'w')"]}
LOAD: dict[str, Any] = {"_args_": [EVIL], "weights_only": False}

GADGETS: dict[str, dict[str, Any]] = {
    # named in the report
    "torch.utils.collect_env.run": {"_args_": [["touch", MARKER]]},
    "torch.serialization.load": LOAD,
    "torchvision.torch.load": LOAD,
    "lab.training.task.torch.hub.load": {"_args_": ["@folder", "entry"], "source": "local"},
    "lab.system.files.write_text": {"path": MARKER, "content": "x"},
    "lab.system.files.remove": {"path": "@kept"},
    # the shell and Python itself
    "os.system": SHELL,
    "posix.system": SHELL,
    "subprocess.getoutput": SHELL,
    "builtins.exec": CODE,
    "builtins.eval": CODE,
    "functools.partial": {"_args_": [print]},
    "torch.os.system": SHELL,
    "torch.nn.modules.module.os.system": SHELL,
    "torch.utils.collect_env.os.system": SHELL,
    "torch.utils.collect_env.subprocess.getoutput": SHELL,
    "torch.utils.collect_env.run_lambda": {"_args_": []},
    "torch.utils.cpp_extension.subprocess.check_output": {"_args_": [["touch", MARKER]]},
    "torch.nn.__builtins__.get": CODE,
    "torch.nn.Module.__init__.__globals__.get": CODE,
    "torch.testing.exec": CODE,
    "torch.fx.graph_module.exec": CODE,
    "timm.models.os.system": SHELL,
    "transformers.os.system": SHELL,
    "lab.registry.models.importlib.import_module": {"_args_": ["antigravity"]},
    "lab.registry.pretrained.os.remove": {"_args_": ["@kept"]},
    "lab.registry.build.functools.partial": {"_args_": [print]},
    "lab.launch.workers.subprocess.getoutput": SHELL,
    # pickles, archives and code in files
    "torch.load": LOAD,
    "torch.jit.load": {"_args_": [EVIL]},
    "torch.hub.load": {"_args_": ["@folder", "entry"], "source": "local"},
    "torch.hub.load_state_dict_from_url": {"_args_": ["http://127.0.0.1:9/x"]},
    "torch.package.PackageImporter": {"_args_": [EVIL]},
    "torch.serialization.pickle.loads": {"_args_": ["x"]},
    "torch.storage.UntypedStorage.from_file": {"_args_": [MARKER, True, 8]},
    "torch.utils.cpp_extension.load_inline": {"name": "x", "cpp_sources": ""},
    "torch.distributed.nn.jit.instantiator.instantiate_non_scriptable_remote_module_template": {},
    "torch.distributed.nn.api.remote_module.RemoteModule": {"_args_": ["worker0/cpu", print]},
    "torch.fx.GraphModule": {"_args_": [{}, {}]},
    "torch.fx.graph_module.GraphModule": {"_args_": [{}, {}]},
    "torch.jit.ScriptModule": {},
    "torch.nn.parallel.DistributedDataParallel": {"_args_": [None]},
    "torch.nn.DataParallel": {"_args_": [None]},
    "torch.nn.Module.load_state_dict": {"_args_": [None, {}]},
    "torch.nn.modules.module.register_module_forward_hook": {"_args_": [print]},
    "torch.nn.utils.parametrize.register_parametrization": {},
    "torch.nn.Parameter": {},
    "torch.save": {"_args_": [1, MARKER]},
    "torch.utils.data.DataLoader": {"_args_": [[1]]},
    "torch.optim.lr_scheduler.LambdaLR": {},
    "torch.multiprocessing.spawn": {"_args_": [print]},
    "torchvision.io.write_file": {"_args_": [MARKER, None]},
    "torchvision.datasets.FakeData": {},
    "torchvision.models.resnet18": {"weights": "DEFAULT"},
    "timm.create_model": {"_args_": ["resnet10t"], "checkpoint_path": EVIL},
    "timm.models.create_model": {"_args_": ["resnet10t"], "checkpoint_path": EVIL},
    "timm.models.load_checkpoint": {"_args_": [None, EVIL]},
    "timm.utils.ModelEma": {"_args_": [None], "resume": EVIL},
    "transformers.AutoModel.from_pretrained": {"_args_": ["@folder"], "trust_remote_code": True},
    "transformers.models.bert.modeling_bert.BertModel.from_pretrained": {"_args_": ["@folder"]},
    "transformers.pipeline": {"model": "@folder"},
    "lightning.pytorch.Trainer": {},
    "lightning.pytorch.LightningModule.load_from_checkpoint": {"_args_": [EVIL]},
    "lightning.fabric.utilities.cloud_io._load": {"_args_": [EVIL]},
    # lab's own functions and classes of no allowed kind
    "lab.build": {"_args_": [{}]},
    "lab.registry.build.build": {"_args_": [{}]},
    "lab.registry.create.create_model": {"_args_": ["hf-hub:owner/name"]},
    "lab.registry.pretrained.read_state_dict": {"_args_": [EVIL]},
    "lab.checkpoint.writer.write_checkpoint": {"_args_": [MARKER, {}, {}, 0]},
    "lab.system.files.replace_folder": {"_args_": ["@kept", MARKER]},
    "lab.cli.main.main": {},
    "lab.launch.jobs.Job": {"_args_": ["fit", {}]},
    "lab.run_directory.RunDirectory": {"_args_": [MARKER]},
    "lab.loggers.metrics_csv.MetricsCSV": {"_args_": [MARKER]},
    "lab.tasks.detection.task.DetectionTask": {},
    "lab.tasks.detection.task.DetectionTask.load_from_checkpoint": {"_args_": [EVIL]},
    "lab.__main__": {},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what gadgets would run, where ``marker`` must never appear and ``kept`` must stay."""
    monkeypatch.chdir(tmp_path)
    call = f"open({str(tmp_path / 'marker')!r}, 'w').close()"
    (tmp_path / "hubconf.py").write_text(f"{call}\ndef entry(): ...\n")
    (tmp_path / "evil.pt").write_bytes(f"cbuiltins\nexec\n(S{call!r}\ntR.".encode())
    (tmp_path / "kept").write_text("kept")
    return tmp_path


def filled(value: Any, folder: Path) -> Any:
    """Put the paths of this test into the arguments of a gadget."""
    if isinstance(value, str):
        for name, path in (("@marker", "marker"), ("@evil", "evil.pt"), ("@kept", "kept"), ("@folder", "")):
            value = value.replace(name, str(folder / path))
        return value
    if isinstance(value, Mapping):
        return {key: filled(item, folder) for key, item in value.items()}
    return [filled(item, folder) for item in value] if isinstance(value, list) else value


def wraps(node: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the places where a node may stand in a config."""
    return {
        "root": node,
        "nested": {"_target_": "detr_tiny", "dropout": node},
        "listed": {"_target_": "detr_tiny", "dropout": [1, {"deeper": node}]},
        "positional": {"_target_": "torch.nn.Sequential", "_args_": [node]},
        "partial": {"_target_": "torch.nn.Sequential", "_args_": [{**node, "_partial_": True}]},
    }


def assert_untouched(folder: Path) -> None:
    assert not (folder / "marker").exists()
    assert (folder / "kept").read_text() == "kept"


def test_the_gadgets_bite_when_they_are_called(folder: Path) -> None:
    """The traps are armed: called outright they leave the mark that the other tests look for."""
    import torch.utils.collect_env as collect_env

    for call in (
        lambda: collect_env.run(["touch", str(folder / "marker")]),
        lambda: torch.load(folder / "evil.pt", weights_only=False),
        lambda: torch.hub.load(str(folder), "entry", source="local"),
    ):
        try:
            call()
        except Exception as error:  # the pickle holds no tensor: that is told after its code has run
            print(error)
        assert (folder / "marker").exists()
        (folder / "marker").unlink()


@pytest.mark.parametrize("target", GADGETS)
def test_build_refuses(target: str, folder: Path) -> None:
    node = {"_target_": target, **filled(GADGETS[target], folder)}
    for place, config in wraps(node).items():
        with pytest.raises(LabError) as caught:
            lab.build(config, where="model.net")
        assert "\n" not in str(caught.value)
        assert_untouched(folder)
        if place == "root":
            assert target in str(caught.value) or "has no" in str(caught.value), str(caught.value)
    with pytest.raises(LabError):
        lab.build({"type": "detr_tiny", "dropout": {**node, "type": target}}, target_key="type")
    assert_untouched(folder)


def test_the_command_line_refuses_by_the_same_text(folder: Path) -> None:
    composed = compose_config(["model=detr_tiny"], [])
    for target in GADGETS:
        node = {"_target_": target, **filled(GADGETS[target], folder)}
        for config in wraps(node).values():
            composed.config["model"]["net"] = config
            with pytest.raises(LabError) as caught:
                check_targets(composed)
            assert "\n" not in str(caught.value)
    assert_untouched(folder)


@pytest.mark.parametrize(
    "target", ["torch.nn.Linear", "torch.nn.modules.linear.Linear", "torch.optim.AdamW", "torchvision.ops.misc.MLP"]
)
def test_what_may_be_named_is_accepted_by_both(target: str) -> None:
    made = lab.build({"_target_": target, "_partial_": True})
    assert issubclass(made.func, torch.nn.Module | torch.optim.Optimizer)
    composed = compose_config(["model=detr_tiny"], [])
    composed.config["model"]["net"] = {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": target}]}
    check_targets(composed)


def test_a_wrong_path_to_a_right_class_is_answered_with_the_right_one() -> None:
    for path, right in (
        ("torchvision.ops.MLP", "torchvision.ops.misc.MLP"),
        ("timm.models.VisionTransformer", "timm.models.vision_transformer.VisionTransformer"),
    ):
        with pytest.raises(ConfigError, match=f"may not be named: .*; write {right}$"):
            lab.build({"_target_": path})


SPEC = {"task": "detection", "class_names": ["a", "b"], "input_shape": [3, 64, 64]}
EVAL = {"name": "coco"}
SIZES = {"num_queries": 2, "embed_dim": 8, "num_heads": 1, "num_decoder_layers": 1, "feedforward_dim": 8}


def checkpoint(folder: Path, net: Any, spec: Mapping[str, Any] = SPEC, task: str = "detection") -> Path:
    """Write a checkpoint without tensors, whose hyper-parameters name ``net``; its checksums are right."""
    arguments = {"net": net, "spec": dict(spec), "optimizer": {}, "scheduler": {}, "max_steps": 1, "eval": EVAL}
    state = {"task": task, "hyper_parameters": arguments, "weights_kind": "raw", "step": 0}
    write_checkpoint(folder / "best.ckpt", {}, state, 0)
    return folder / "best.ckpt"


def refused(path: Path, task: Any = DetectionTask) -> str:
    with pytest.raises(CheckpointError) as caught:
        task.load_from_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("target", GADGETS)
def test_a_checkpoint_is_refused(target: str, folder: Path) -> None:
    arguments = {
        key: [item for item in value if item is not print] if isinstance(value, list) else value
        for key, value in filled(GADGETS[target], folder).items()
    }
    node = {"_target_": target, **arguments}
    for config in wraps(node).values():
        refused(checkpoint(folder, config))
        assert_untouched(folder)


def test_a_checkpoint_names_only_what_speaks_the_protocol_of_its_task(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told before anything is constructed."""
    monkeypatch.setattr("lab.registry.build._construct", lambda *_: pytest.fail("something was constructed"))
    for target in ("resnet18", "swin_tiny", "sasrec", "maskformer_tiny", "torch.nn.Linear", "timm:resnet18"):
        assert "is no detector" in refused(checkpoint(folder, {"_target_": target}))
    for target in ("lab.tasks.detection.data.coco.CocoDataModule", "torch.optim.AdamW", "lab.callbacks.ema.EMA"):
        assert "may not be named by a checkpoint" in refused(checkpoint(folder, {"_target_": target}))
    spec = {**SPEC, "task": "segmentation"}
    path = checkpoint(folder, {"_target_": "detr_tiny"}, spec, "segmentation")
    assert "is no segmenter" in refused(path, SegmentationTask)
    spec = {"task": "recommendation", "item_names": ["a"], "item_counts": [1]}
    path = checkpoint(folder, {"_target_": "detr_tiny"}, spec, "recommendation")
    assert "is no recommender" in refused(path, RecommendationTask)


@pytest.mark.parametrize("source", ["hf-hub:owner/name", "hf_hub:owner/name", "local-dir:@folder", "local_dir:@folder"])
def test_a_checkpoint_names_no_folder_and_no_repository(
    source: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("a name was resolved"))
    (folder / "config.json").write_text('{"architecture": "detr_tiny"}')
    source = filled(source, folder)
    assert "may not be named by a checkpoint" in refused(checkpoint(folder, {"_target_": source}))
    nested = {"_target_": "detr_tiny", "dropout": {"_target_": source}}
    assert "may not be named by a checkpoint" in refused(checkpoint(folder, nested))


def test_a_backbone_that_a_checkpoint_names_is_neither_fetched_nor_filled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that networks hand on to ``create_model``: nothing is fetched, no file of weights is read."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setattr("lab.registry.create.load_pretrained", lambda *_, **__: pytest.fail("weights were read"))
    net = {"_target_": "detr_resnet50", **SIZES, "num_encoder_layers": 1}
    assert "could not be fetched" in refused(checkpoint(folder, {**net, "backbone": "hf-hub:owner/name"}))
    for options in ({"pretrained": str(folder / "evil.pt")}, {"pretrained": True}):
        lacks = refused(checkpoint(folder, {"_target_": "detr_tiny", **SIZES, **options}))
        assert "does not fit: it lacks" in lacks  # built without weights, and the checkpoint has none
    with sealed():
        create_model("resnet18", pretrained=True)


def test_timm_is_given_no_file_to_unpickle(folder: Path) -> None:
    pytest.importorskip("timm")
    with pytest.raises(CheckpointError, match=r"evil\.pt"):
        create_model("timm:resnet10t", pretrained=folder / "evil.pt")
    for argument in ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"):
        with pytest.raises(ConfigError, match=f"{argument}: not taken for 'timm:resnet10t'"):
            create_model("timm:resnet10t", **{argument: {"file": str(folder / "evil.pt")}})
    assert_untouched(folder)


def test_functions_that_torch_unpickles_are_no_target(folder: Path) -> None:
    """torch's ``weights_only`` lets some of its own functions and classes through as values."""
    from collections import OrderedDict

    for thing in (torch._utils._rebuild_tensor_v2, OrderedDict, torch.nn.Parameter):
        path = checkpoint(folder, {"_target_": "detr_tiny"})
        state = torch.load(path / "state.pt", weights_only=True)
        state["hyper_parameters"]["net"] = {"_target_": thing}
        torch.save(state, path / "state.pt")
        resign(path)
        assert "which is no plain data" in refused(path)


def resign(path: Path) -> None:
    """Let the index say what state.pt is now, as somebody would who knows the format."""
    import zlib

    from lab.checkpoint.index import Index

    index = Index.loads((path / "index.json").read_text())
    content = (path / "state.pt").read_bytes()
    index.files["state.pt"] = (len(content), zlib.crc32(content))
    (path / "index.json").write_text(index.dumps())


EXTENSION = """
from torch import load as load_it
from torch import nn
from lab.registry import register, register_model
from lab.data.datamodule import DataModule
import their_helpers

class Net(nn.Module):
    def __init__(self, width=1):
        super().__init__()
        self.width = width

class Plain:
    pass

@register
class Vouched:
    pass

@register
def make(width):
    return Net(width)

def called_below(width):
    return Net(width)

register(called_below)

def shell():
    raise SystemExit("called")

@their_helpers.register
def theirs():
    raise SystemExit("called")

class Data(DataModule):
    pass
"""


def test_a_package_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ext_of_gadgets.py").write_text(EXTENSION)
    (tmp_path / "their_helpers.py").write_text("def register(function):\n    return function\n")
    (tmp_path / "ext_refused.py").write_text("class Plain: ...\nraise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    composed = compose_config(["model=detr_tiny", "extensions=[ext_of_gadgets,ext_refused]"], [])

    def command(target: str, **arguments: Any) -> None:
        composed.config["model"]["net"] = {"_target_": target, **arguments}
        check_targets(composed)

    wrong = ("Plain", "shell", "theirs", "load_it", "nn.Linear", "register", "Net.forward", "their_helpers.register")
    right = {"Net": {"width": 2}, "make": {"width": 2}, "called_below": {"width": 2}, "Vouched": {}}
    for name in wrong:
        with pytest.raises(ConfigError, match=r"may not be named|has no|cannot be called"):
            command(f"ext_of_gadgets.{name}")
    for name, arguments in right.items():
        command(f"ext_of_gadgets.{name}", **arguments)
    assert "ext_of_gadgets" not in sys.modules  # the command line read its text alone

    lab.registry.allow_package("ext_of_gadgets")
    lab.registry.allow_package("ext_refused")
    with pytest.raises(ConfigError, match="may not be named"):
        lab.build({"_target_": "ext_refused.Plain"})  # refused by its text: it would end this process
    for name in wrong:
        with pytest.raises(ConfigError, match=r"may not be named|has no|cannot be called"):
            lab.build({"_target_": f"ext_of_gadgets.{name}"})
    assert "ext_of_gadgets" not in sys.modules
    with sealed(), pytest.raises(ConfigError, match="before its package is imported"):
        lab.build({"_target_": "ext_of_gadgets.Net"})
    for name, arguments in right.items():
        built = lab.build({"_target_": f"ext_of_gadgets.{name}", **arguments})
        assert getattr(built, "width", 2) == 2
    with sealed():
        assert lab.build({"_target_": "ext_of_gadgets.Net", "width": 3}).width == 3
        with pytest.raises(ConfigError, match="a checkpoint names networks alone"):
            lab.build({"_target_": "ext_of_gadgets.Data"})


@pytest.mark.parametrize("thing", [lambda: None, 3, "text", {}.get])
def test_only_what_a_path_can_name_is_registered(thing: Any) -> None:
    with pytest.raises(ConfigError, match="at the top level of a module"):
        lab.registry.register(thing)


def test_a_network_of_a_folder_stands_in_checkpoints_by_its_architecture(folder: Path) -> None:
    """What was built from a folder or repository of models is loaded without it."""
    (folder / "net").mkdir()
    (folder / "net" / "config.json").write_text('{"architecture": "detr_tiny", "model_args": {"num_queries": 3}}')
    net = {"_target_": f"local-dir:{folder / 'net'}", **{key: SIZES[key] for key in SIZES if key != "num_queries"}}
    optimizer, schedule = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0}, {"name": "constant"}
    task = DetectionTask(net, dict(SPEC), optimizer, schedule, 1, EVAL)
    assert task.hparams["net"] == {**net, "_target_": "detr_tiny", "num_queries": 3}
    state = {"task": "detection", "hyper_parameters": dict(task.hparams), "weights_kind": "raw", "step": 0}
    write_checkpoint(folder / "best.ckpt", StateAccess().pieces(task, None), state, 0)
    (folder / "net" / "config.json").unlink()
    loaded = DetectionTask.load_from_checkpoint(folder / "best.ckpt")
    assert loaded.net.num_queries == 3


@pytest.mark.parametrize("target", ["torch.nn.Linear", "detr_tiny", "timm:resnet10t", "torch.optim.AdamW"])
def test_data_is_a_data_module(target: str) -> None:
    with pytest.raises(ConfigError, match=r"data._target_=.* is no DataModule"):
        build_data({"data": {"_target_": target}})
