"""Every option of every group and every recipe composes, and is what the schemas and signatures say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lab.config.compose import Composed, config_dir
from lab.config.defaults import option_content

GROUPS = [path for path in sorted(config_dir().iterdir()) if path.is_dir()]
OPTIONS = [f"{group.name}={file.stem}" for group in GROUPS for file in sorted(group.glob("*.yaml"))]
OWNERS = [*sorted((config_dir() / "model").glob("*.yaml")), *sorted((config_dir() / "experiments").glob("*.yaml"))]


def test_there_is_something_to_test() -> None:
    assert {"model", "data", "trainer", "strategy", "optimizer", "scheduler"} <= {group.name for group in GROUPS}
    assert {"model=detr", "data=coco", "debug=fast"} <= set(OPTIONS)


def model_for(option: str) -> list[str]:
    """The word that chooses a model of the task that a dataset or an evaluation is for."""
    group, name = option.split("=")
    content = yaml.safe_load((config_dir() / group / f"{name}.yaml").read_text(encoding="utf-8")) or {}
    if group == "eval":
        task = content["name"]
    elif group == "data":
        task = option_content("data", name, [config_dir()])["tasks"][0]
    elif group == "scheduler":
        return ["trainer.max_steps=2000"]  # longer than any warm-up
    else:
        return []
    for path in sorted((config_dir() / "model").glob("*.yaml")):
        if (yaml.safe_load(path.read_text(encoding="utf-8")).get("model") or {}).get("task") == task:
            return [f"model={path.stem}"]
    raise AssertionError(f"no model for {task}")


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_passes_the_checks(option: str, checked: Callable[..., Composed]) -> None:
    group, name = option.split("=")
    composed = checked(*model_for(option), option, machine=False)
    assert composed.choices[group] == name


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


@pytest.mark.parametrize("path", sorted((config_dir() / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_model_runs_on_the_meta_device(path: Path, checked: Callable[..., Composed]) -> None:
    """As ``check=true`` runs it, on the data that it chooses itself, or on generated scenes."""
    import torch

    from lab.experiment.assembly import build_data, build_task

    config = checked(f"model={path.stem}", "data.batch_size=2").config
    data = build_data(config)
    batch = data.first_batch().to("meta")
    with torch.device("meta"):
        task = build_task(config, data, 1)
    assert "->" in task.dry_run(batch)
    if task.is_trained:
        task.configure_optimizers()
