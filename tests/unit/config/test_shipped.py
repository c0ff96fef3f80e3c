"""Every option of every group and every recipe composes, and is what the schemas and signatures say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lab.config.compose import Composed, config_dir
from lab.sweeps.setup import read_setup
from tests.shipped import GROUPS, OPTIONS, SWEEP_OPTIONS, composed
from tests.unit.tasks.classification.makers import make_mnist

OWNERS = [*sorted((config_dir() / "model").glob("*.yaml")), *sorted((config_dir() / "experiments").glob("*.yaml"))]


def test_there_is_something_to_test() -> None:
    assert {"model", "data", "trainer", "strategy", "optimizer", "scheduler"} <= {group.name for group in GROUPS}
    assert {"model=detr", "data=coco", "debug=fast"} <= set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_passes_the_checks(option: str) -> None:
    group, name = option.split("=")
    assert composed(option).choices[group] == name


@pytest.mark.parametrize("option", SWEEP_OPTIONS)
def test_every_option_of_a_sweep_composes_and_passes_the_checks(option: str) -> None:
    group, name = option.split("=")
    assert getattr(read_setup([option], []).settings, group).name == name


@pytest.mark.parametrize("path", OWNERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_models_and_recipes_keep_rates_in_options_of_their_own(path: Path) -> None:
    """Else another optimizer on the command line would have to repeat them (lab.config.checks)."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.parent.name == "model":
        assert not {"optimizer", "scheduler"} & set(content)
    assert path.read_text(encoding="utf-8").startswith("# @package _global_\n")


def test_detr_trains_only_its_backbone_at_the_lower_rate(checked: Callable[..., Composed]) -> None:
    import torch

    from lab.registry.build import build
    from lab.training.optimizers import parameter_groups

    config = checked("model=detr").config
    with torch.device("meta"):
        net = build(config["model"]["net"])
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = {
        group["lr"]: [names[id(p)] for p in group["params"]] for group in parameter_groups(net, config["optimizer"])
    }
    # 53 convolutions of ResNet-50, without conv1 and the 10 of layer1; frozen batch norms have no parameters
    assert len(groups[1e-5]) == 53 - 11
    assert all(name.startswith("backbone.0.body.layer") for name in groups[1e-5])
    assert not any("backbone" in name for name in groups[1e-4])
    assert sorted(groups) == [1e-5, 1e-4]
    trained = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    assert round(trained / 1e6, 2) == 41.3  # the authors' model


def test_detr3d_trains_its_backbone_at_a_tenth_of_the_rate(checked: Callable[..., Composed]) -> None:
    import torch

    from lab.registry.build import build
    from lab.training.optimizers import parameter_groups

    config = checked("model=detr3d", "data=scenes3d").config
    with torch.device("meta"):
        net = build(config["model"]["net"])
    trained = {id(part): name for name, part in net.named_parameters() if part.requires_grad}
    groups = {group["lr"]: group for group in parameter_groups(net, config["optimizer"])}
    assert sorted(groups) == [2e-5, 2e-4]
    assert all(group["weight_decay"] == 0.01 for group in groups.values())
    for rate, group in groups.items():
        names = [trained.pop(id(part)) for part in group["params"]]
        assert all(name.startswith("img_backbone.") == (rate == 2e-5) for name in names)
    assert not trained
    assert (config["trainer"]["gradient_clip_val"], config["trainer"]["max_epochs"]) == (35.0, 24)


@pytest.mark.parametrize("path", sorted((config_dir() / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_model_runs_on_the_meta_device(path: Path, checked: Callable[..., Composed], tmp_path: Path) -> None:
    """As ``check=true`` runs it, on the data that it chooses itself, or on generated scenes or digits."""
    import torch

    from lab.experiment.assembly import build_data, build_task

    words = [f"model={path.stem}", "data.batch_size=2"]
    if "override /data: cifar10" in path.read_text() or path.stem in ("mixmatch", "pseudo_label"):
        root = make_mnist(tmp_path / "mnist", num_train=100, side=32)
        words += ["data=idx", f"data.root={root}", "data.num_labels=20", "data.augmentation.flip=0.5"]
    elif path.stem.startswith("detr3d"):
        words += ["data=scenes3d", "data.image_size=[64,96]", "data.samples=1"]
    config = checked(*words).config
    data = build_data(config)
    batch = data.first_batch().to("meta")
    with torch.device("meta"):
        task = build_task(config, data, 1)
    assert "->" in task.dry_run(batch)
    if task.is_trained:
        task.configure_optimizers()
