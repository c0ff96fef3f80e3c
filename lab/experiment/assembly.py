"""The parts of an experiment, built from a resolved config: data, plan, task, device."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lab.checkpoint.finite import require_finite
from lab.config.checks import DATA_METADATA
from lab.config.sources import find_in_working_directory
from lab.data.datamodule import DataModule, LoadPlan
from lab.errors import ConfigError
from lab.registry.allowed import allow_package
from lab.registry.build import build, made_classes
from lab.registry.create import find_weights, load_weights
from lab.registry.models import is_model, model_entry
from lab.registry.pretrained import WeightsSource
from lab.strategies import collectives
from lab.strategies.build import IN_ONE_PROCESS, data_ranks, make_strategy
from lab.strategies.environment import ManagedEnvironment
from lab.system.ranks import Place
from lab.system.registrations import import_package
from lab.training.freezing import Freezing, make_freezing
from lab.training.spec import task_spec
from lab.training.task import Task


@dataclass(frozen=True)
class Plan:
    """The length of a training in optimizer steps, once the data is known.

    Attributes:
        max_steps: the last step.
        schedule_steps: the length of the learning-rate schedule; more than ``max_steps`` if debug shortens the run.
        val_every: steps between validations.
        steps_per_epoch: without the last incomplete batch.
        load: how this rank walks through the data; ``give_plan`` passes it to the data.
    """

    max_steps: int
    schedule_steps: int
    val_every: int
    steps_per_epoch: int
    load: LoadPlan


def prepare(config: Mapping[str, Any]) -> None:
    """Set the seeds, import the user's packages, silence warnings of libraries."""
    find_in_working_directory(config["extensions"])
    for name in config["extensions"]:
        try:
            import_package(name)
        except ModuleNotFoundError as error:
            raise ConfigError(f"extensions: {name} cannot be imported: {error}") from error
        allow_package(name)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*lr_scheduler.step.*",
        ".*smaller than the logging interval.*",
        ".*LeafSpec.*",
        ".*custom batch sampler.*",
        ".*in eval mode at the start of training.*",  # frozen parts are meant to be: Lightning keeps each one's mode
        ".*`srun` command is available.*",  # Slurm is installed, but the command was not started by srun
    ):
        warnings.filterwarnings("ignore", message)
    pl.seed_everything(config["seed"], workers=False, verbose=False)


def build_data(config: Mapping[str, Any], own: DataModule | None = None) -> DataModule:
    """Build the DataModule that a config names.

    Args:
        config: the resolved config.
        own: a DataModule object of the caller, which replaces it.

    Raises:
        ConfigError: it is no DataModule of lab, or cannot be built.
    """
    if own is not None:
        if not isinstance(own, DataModule):
            raise ConfigError(f"data is a {type(own).__name__}, no DataModule: see lab.data.datamodule.DataModule")
        return own
    node = {key: value for key, value in config["data"].items() if key not in DATA_METADATA}
    made = made_classes(node["_target_"], where="data")
    if made and not any(issubclass(item, DataModule) for item in made):
        raise ConfigError(f"data._target_={node['_target_']} is no DataModule: see lab.data.datamodule.DataModule")
    data: DataModule = build(node, where="data")
    return data


def build_task(config: Mapping[str, Any], data: DataModule, max_steps: int) -> Task:
    """Build the task, its network sized from the data."""
    with torch.device("cpu"):  # check=true builds the network on the meta device, but the data is real
        spec = data.spec
    if spec.task != config["model"]["task"]:
        raise ConfigError(
            f"model={config['model']['name']} is for {config['model']['task']}, the data is for {spec.task}"
        )
    return task_spec(spec.task).load_task()(
        net=config["model"]["net"],
        spec=spec.to_plain(),
        optimizer=config["optimizer"],
        scheduler=config["scheduler"],
        max_steps=max_steps,
        eval=config["eval"],
        learning=config["model"].get("learning", {}),
    )


def freeze(config: Mapping[str, Any], task: Task, steps_per_epoch: int) -> Freezing | None:
    """Freeze the parameters of a task that the config never trains; return what trains when, None if all of it does.

    Raises:
        ConfigError: a pattern matches nothing.
    """
    settings = config["callbacks"]["unfreeze"]
    if settings is None:
        return None
    target = config["model"]["net"]["_target_"]
    heads = model_entry(target).classifier if is_model(target) else ()
    found = make_freezing(task.net, settings, heads, steps_per_epoch)
    found.freeze_for_good(task.net)
    return found


def check_unfreezing(config: Mapping[str, Any], freezing: Freezing | None) -> None:
    """Check that the strategy of a config can train more parameters later.

    Raises:
        ConfigError: it updates all parameters together.
    """
    name = config["strategy"]["name"]
    if freezing is not None and len(freezing.stages) > 1 and name.startswith("deepspeed"):
        raise ConfigError(
            f"callbacks.unfreeze: strategy={name} updates all parameters together and cannot unfreeze some later; take "
            "strategy=fsdp or ddp, or callbacks=head_only"
        )


def load_plan(config: Mapping[str, Any], place: Place) -> LoadPlan:
    """Return how this rank walks through the data, as far as the config defines it: no steps are counted yet."""
    debug, shares = config["debug"], data_ranks(config["strategy"], place)
    measured = task_spec(config["model"]["task"]).load_settings().eval.model_validate(config["eval"])
    return LoadPlan(
        rank=place.rank * shares // place.world_size,
        world_size=shares,
        reduce=partial(collectives.sum_over_ranks, copies=place.world_size // shares),
        accumulate=config["trainer"]["accumulate_grad_batches"],
        limit_train=debug["limit_train_batches"],
        limit_eval=debug["limit_eval_batches"],
        max_eval=measured.most_samples,
        eval_seed=measured.sample_seed,
        overfit_batches=debug["overfit_batches"],
    )


def make_plan(config: Mapping[str, Any], data: DataModule, place: Place) -> Plan:
    """Count the optimizer steps of a training; this reads the length of the data and does not change the data.

    Raises:
        LabError: the data cannot be read, or its batches do not divide among ranks and micro-batches.
    """
    trainer, load = config["trainer"], load_plan(config, place)
    per_epoch = data.steps_per_epoch(load)
    steps = trainer["max_steps"] or (trainer["max_epochs"] or 1) * per_epoch
    max_steps = min(steps, config["debug"]["max_steps"] or steps)
    val_every = trainer["val_every_n_steps"] or per_epoch
    return Plan(max_steps, steps, val_every, per_epoch, replace(load, max_steps=max_steps))


def give_plan(data: DataModule, load: LoadPlan, task: Task | None = None, start: int = 0) -> None:
    """Set the data's plan, before the first batch is read. No other code sets it.

    Args:
        data: its plan is replaced.
        load: this rank's share, the limits and the last step.
        task: the task that is trained, which counts the normalisers of a batch. None if nothing is trained.
        start: the optimizer step from which the training continues.
    """
    data.plan = replace(load, start_step=start, totals=None if task is None else task.totals)


QUIET: dict[str, Any] = {
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}
"""Trainer arguments that switch off what lab does itself."""


def on_gpu(config: Mapping[str, Any]) -> bool:
    """Whether a run uses GPUs."""
    accelerator = config["trainer"]["accelerator"]
    return bool(accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available()))


@contextmanager
def ranks(config: Mapping[str, Any], place: Place, store: Any = None) -> Iterator[None]:
    """Within this context the ranks of a job have a process group, if the strategy needs one.

    Args:
        config: the resolved config.
        place: the rank of this process and the number of ranks.
        store: the rendezvous store, if the ranks already have one.
    """
    name = config["strategy"]["name"]
    if name in IN_ONE_PROCESS or (name == "auto" and place.world_size == 1):
        try:
            yield
        finally:
            collectives.end_alone()
        return
    with collectives.process_group(place, on_gpu(config), store):
        yield


def device_arguments(config: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Return the Trainer's arguments that place it on devices; its strategy serves one Trainer."""
    settings = config["trainer"]
    precision = settings["precision"]
    accelerator = "gpu" if on_gpu(config) else "cpu"
    arguments = {
        "accelerator": accelerator,
        "devices": settings["devices"],
        "num_nodes": settings["num_nodes"],
        "precision": {"32": "32-true", "64": "64-true"}.get(precision, precision),
        "deterministic": "warn" if settings["deterministic"] and accelerator == "gpu" else settings["deterministic"],
        "plugins": [ManagedEnvironment(place)],
    }
    if config["strategy"]["name"] == "dp":  # for several devices Lightning would start a process for each
        arguments["devices"] = 1
        arguments["strategy"] = make_strategy(
            {**config["strategy"], "accelerator": accelerator, "devices": settings["devices"]}
        )
    elif config["strategy"]["name"] != "single":
        arguments["strategy"] = make_strategy(config["strategy"])
    return arguments


def check_weights(config: Mapping[str, Any], task: Task) -> str:
    """Compare the weights that a config names with its task, which is on the meta device: no values are loaded.

    Returns:
        A short description of the comparison; empty if the config names no weights.

    Raises:
        CheckpointError: the weights cannot be read, or do not fit.
    """
    source, target = config["ckpt"] or config["model"]["pretrained"], config["model"]["net"]["_target_"]
    if source is None:
        return ""
    if config["stage"] != "fit" and Path(source).is_dir():
        with torch.device("meta"):
            type(task).load_from_checkpoint(source, config["eval"])
        return f"{source}: has every tensor of the task"
    found, folder = find_weights(target, source), config["paths"]["weights_dir"]
    if isinstance(found, WeightsSource) and not found.place(folder).is_file():
        return f"{source}: not compared, because {found.place(folder)} does not exist yet and a check downloads nothing"
    return str(load_weights(task.net, target, source, folder))


def load_task(config: Mapping[str, Any], data: DataModule) -> Task:
    """Return the task of ``ckpt``: a checkpoint of lab, which the data follows, or weights for the configured network.

    Raises:
        CheckpointError: the weights cannot be read, do not fit, or are not finite.
        LabError: the data cannot be prepared as that of the checkpoint was.
    """
    path, kind = config["ckpt"], task_spec(config["model"]["task"]).load_task()
    if path is not None and Path(path).is_dir():
        task = kind.load_from_checkpoint(path, config["eval"])
        data.follow(task.spec)
    else:
        task = build_task(config, data, 1)
        source = path or config["model"]["pretrained"]
        load_weights(task.net, config["model"]["net"]["_target_"], source, config["paths"]["weights_dir"])
    require_finite(task, path or config["model"]["pretrained"])
    return task
