"""Trees of nested dicts become trees of objects."""

from __future__ import annotations

import copy
import functools
import types
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from lab import build
from lab.errors import ConfigError, LabError, RegistryError
from lab.ranges import Flat
from lab.registry import allow_package, register
from lab.registry.arguments import build_variant
from lab.registry.build import taken_arguments


@register
class Leaf:
    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"size {size} is negative")
        self.size = size


@register
class Tree:
    def __init__(self, leaf: Leaf, others: list[Leaf] | None = None, *, name: str = "tree") -> None:
        self.leaf, self.others, self.name = leaf, others, name


@dataclass(frozen=True)
class BarkOptions(Flat):
    color: str = "brown"
    rough: bool = True


BARK = BarkOptions()


@register
class Trunk:
    def __init__(self, height: int, bark: BarkOptions = BARK) -> None:
        self.height, self.bark = height, bark


@register
def trunk(**overrides: object) -> Trunk:
    return build_variant(Trunk, "trunk", overrides, color="white")


HERE = __name__
allow_package(HERE)


def leaf(**arguments: object) -> dict[str, object]:
    return {"_target_": f"{HERE}.Leaf", **arguments}


def test_a_whole_tree_in_one_call_without_changing_it() -> None:
    config = {
        "net": {"_target_": f"{HERE}.Tree", "leaf": leaf(size=1), "others": [leaf(size=2), leaf(size=3)]},
        "plain": {"rate": 0.1, "steps": (1, 2)},
    }
    before = copy.deepcopy(config)
    built = build(config)
    assert config == before
    assert built["plain"] == {"rate": 0.1, "steps": (1, 2)}
    assert [item.size for item in (built["net"].leaf, *built["net"].others)] == [1, 2, 3]


def test_registered_names_and_modules_of_torch() -> None:
    built = build(
        {
            "_target_": "torch.nn.Sequential",
            "_args_": [
                {"_target_": "resnet18", "num_classes": 5},
                {"_target_": "torch.nn.Linear", "in_features": 5, "out_features": 2},
            ],
        }
    )
    assert isinstance(built, nn.Sequential)
    assert built(torch.zeros(2, 3, 64, 64)).shape == (2, 2)


def test_type_as_the_key_and_overrides_by_dotted_name() -> None:
    config = {"type": f"{HERE}.Tree", "leaf": {"type": f"{HERE}.Leaf", "size": 1}}
    built = build(config, target_key="type", name="other", **{"leaf.size": 7})
    assert (built.leaf.size, built.name) == (7, "other")
    assert config["leaf"] == {"type": f"{HERE}.Leaf", "size": 1}
    with pytest.raises(ConfigError, match=r"laef.size: the config has no 'laef'; did you mean 'leaf'"):
        build(config, target_key="type", **{"laef.size": 7})


def test_partial_and_ready_objects() -> None:
    ready = Leaf(9)
    made = build({"_target_": f"{HERE}.Tree", "_partial_": True}, leaf=ready)
    assert isinstance(made, functools.partial)
    assert made().leaf is ready


def test_omegaconf_trees() -> None:
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create({"size": 4, "net": leaf(size="${size}"), "list": [1, "${size}"]})
    built = build(config)
    assert built["net"].size == 4
    assert built["list"] == [1, 4]


@pytest.mark.parametrize(
    ("node", "error", "message"),
    [
        ({"_target_": "resnet5"}, RegistryError, r"model.net._target_: unknown model 'resnet5'; did you mean 'resnet"),
        ({"_target_": "resnet18", "num_clases": 1}, ConfigError, r"model.net.num_clases: .*did you mean 'num_classes'"),
        (leaf(sice=3), ConfigError, r"model.net.sice: .*Leaf takes no argument 'sice'; did you mean 'size'"),
        (leaf(), ConfigError, r"model.net: .*Leaf needs 'size'"),
        (leaf(size=-1), ConfigError, r"model.net: .*Leaf failed with ValueError: size -1 is negative"),
        ({"_target_": 3}, ConfigError, r"model.net._target_: expected a name, got 3"),
        ({"_target_": "torch.nn.Linaer"}, ConfigError, r"'torch.nn' has no 'Linaer'; did you mean 'Linear'"),
        ({"_target_": "torch.nn"}, ConfigError, r"'torch.nn' is a module and cannot be called"),
        ({"_target_": "lab.nowhere.Thing"}, ConfigError, r"'lab' has no 'nowhere'"),
        ({"_target_": "tim:resnet18"}, RegistryError, r"model.net._target_: .*unknown source 'tim'"),
        (
            {"_target_": "resnet18", "norm": "nome"},
            ConfigError,
            r"net\.norm=nome: resnet18 takes Literal",
        ),
    ],
)
def test_errors_carry_the_path(node: dict[str, object], error: type[LabError], message: str) -> None:
    with pytest.raises(error, match=message):
        build({"net": node}, where="model")


def test_the_cause_of_a_constructor_stays() -> None:
    with pytest.raises(ConfigError) as caught:
        build([leaf(size=1), leaf(size=-1)])
    assert str(caught.value).startswith("1: ")
    assert isinstance(caught.value.__cause__, ValueError)


def test_everything_is_checked_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    monkeypatch.setattr(Leaf, "__init__", lambda self, size: built.append(size))
    with pytest.raises(ConfigError, match=r"1\.sice"):
        build([leaf(size=1), leaf(sice=2)])
    assert built == []


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "torch.os.system",
        "torch.serialization.pickle.loads",
        "torch.nn.__builtins__.get",
        "torch.load",
        "torch.hub.load",
        "torch.utils.cpp_extension.load_inline",
        "lab.registry.models.importlib.import_module",
        "lab.registry.pretrained.os.remove",
        "lab.registry.build.Callable",
    ],
)
def test_nothing_outside_of_the_allowed_packages(target: str) -> None:
    with pytest.raises(ConfigError, match=r"not in an allowed package|may not be named|has no"):
        build({"_target_": target})


def test_a_package_is_allowed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("their_package")
    package.Thing = type("Thing", (nn.Module,), {"__module__": "their_package"})  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "their_package", package)
    with pytest.raises(ConfigError, match=r"not in an allowed package"):
        build({"_target_": "their_package.Thing"})
    allow_package("their_package.submodule")
    assert type(build({"_target_": "their_package.Thing"})).__name__ == "Thing"


def test_a_cycle_is_named() -> None:
    config: dict[str, object] = {"a": {}}
    config["a"] = {"b": config}
    with pytest.raises(ConfigError, match=r"a\.b: the config contains itself"):
        build(config)


def test_the_arguments_that_a_target_takes() -> None:
    of_class = taken_arguments("lab.models.detr.network.DETR")
    assert {"num_classes", "num_queries", "embed_dim"} <= of_class
    assert "num_queries" in taken_arguments("detr_resnet50")  # an entry function that hands on to the class
    assert "weights_dir" not in taken_arguments("detr_resnet50")  # an option of create_model
    with pytest.raises(ConfigError, match="not in an allowed package"):
        taken_arguments("os.system")


def test_the_fields_of_flat_options_stand_beside_the_other_arguments() -> None:
    """Of a class and of a function that builds it: no second way, and a wrong name is refused with the right ones."""
    node = {"_target_": f"{HERE}.Trunk", "height": 3, "rough": False}
    assert build(node).bark == BarkOptions(rough=False)
    assert build({"_target_": f"{HERE}.Trunk", "height": 3}).bark is BARK
    assert build({**node, "_target_": f"{HERE}.trunk"}).bark == BarkOptions("white", rough=False)
    assert build({**node, "_partial_": True})(height=5).bark == BarkOptions(rough=False)
    assert taken_arguments(f"{HERE}.Trunk") == {"height", "color", "rough"}
    for wrong, near in (("colr", "'color'"), ("bark", "it takes height, color, rough")):
        for target in ("Trunk", "trunk"):
            with pytest.raises(ConfigError, match=f"takes no argument '{wrong}'.*{near}"):
                build({"_target_": f"{HERE}.{target}", "height": 3, wrong: "red"})


def test_detr_and_maskformer_take_their_numbers_flat() -> None:
    detr = build({"_target_": "detr_tiny", "num_classes": 3, "cost_box": 4.0})
    assert detr.criterion.costs == {"cost_class": 2.0, "cost_box": 4.0, "cost_giou": 2.0}
    net = {"_target_": "lab.models.maskformer.network.MaskFormer", "num_classes": 3, "backbone": "conv_stem"}
    small = {"embed_dim": 8, "mask_dim": 8, "num_groups": 2, "num_heads": 2, "num_decoder_layers": 1}
    masks = build({**net, **small, "backbone_options": {"widths": [8, 8, 8, 8]}, "num_points": 16, "cost_dice": 3.0})
    assert (masks.criterion.num_points, masks.criterion.cost_dice, masks.criterion.cost_mask) == (16, 3.0, 20.0)
