"""Checks that need only the config and the file system: types, combinations, files. No torch.

Every error is one line that says what is wrong, where it was set and what would be right.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from lab.config.batches import data_ranks
from lab.config.combinations import conflict
from lab.config.compose import Composed, compose_config, options
from lab.config.defaults import option_content, option_files, own_content
from lab.config.group_files import shorten
from lab.config.kinds import Asks, EvalSettings, FindSettings, Learning, TaskSettings
from lab.config.packages import check_packages
from lab.config.problems import first_problem
from lab.config.schemas import ConfigSchema
from lab.config.separators import normalize_separator
from lab.config.value_types import Strict
from lab.config.words import word_key
from lab.errors import ConfigError, closest
from lab.system.files import archive_in, is_checkpoint

DATA_METADATA = frozenset({"name", "tasks", "requires", "how_to_get", "preprocessing"})
"""Keys of a data node that describe it and are not arguments of its target."""


def check_config(composed: Composed, find_settings: FindSettings) -> TaskSettings:
    """Check a composed config and convert its values to the types of the schemas (``"4"`` becomes 4).

    Args:
        composed: the config; its ``config`` is replaced by the typed one.
        find_settings: finds the schemas that the model's kind of problem adds.

    Returns:
        The settings of the kind of problem.

    Raises:
        ConfigError: with the first thing that is wrong.
    """
    of_kind = _groups_of_kind(composed)
    shared = {key: value for key, value in composed.config.items() if key not in of_kind}
    composed.config |= typed(ConfigSchema, shared, composed)
    _spell_separator(composed)
    _check_inheritance(composed)
    settings = find_settings(composed.config["model"]["task"])
    _check_task(composed)
    _check_kind(composed, settings)
    _check_length(composed)
    _check_strategy(composed, settings)  # before the batch, because the number of ranks follows from the strategy
    _check_batch(composed)
    check_packages(composed)
    return settings


def typed(schema: type[BaseModel], values: Mapping[str, Any], composed: Composed) -> dict[str, Any]:
    """Return values of the config, converted to the types of a schema.

    Raises:
        ConfigError: for the first value that the schema refuses.
    """
    try:
        found = schema.model_validate(values)
    except ValidationError as error:
        raise ConfigError(first_problem(error, composed, schema)) from None
    return found.model_dump(mode="json", by_alias=True, exclude_unset=True)


def check_machine(composed: Composed, devices: bool = True) -> None:
    """Check that the devices, files and folders of a checked config exist.

    Args:
        composed: the config.
        devices: check devices too; a job may run on another machine than this one.

    Raises:
        ConfigError: with the first thing that is missing.
    """
    if devices:
        _check_devices(composed)
    _check_files(composed)
    _check_data(composed)


def _spell_separator(composed: Composed) -> None:
    """Normalise the separator, so that a run has the same name however a tab was typed."""
    separator = composed.config["data"].get("separator")
    if isinstance(separator, str):
        composed.config["data"]["separator"] = normalize_separator(separator)


def _check_inheritance(composed: Composed) -> None:
    """Refuse a new optimizer or scheduler if a recipe or model sets numbers for the one that it replaces."""
    for group in ("optimizer", "scheduler"):
        word = next((word for word in composed.overrides if word_key(word) == group and word[0] != "~"), None)
        given = {word_key(other) for other in composed.overrides}
        for owner in ("experiments", "model") if word else ():
            files = option_files(owner, composed.choices.get(owner, ""), composed.search_path)
            path = next((file for file in files if own_content(file).get(group)), None)
            node = own_content(path)[group] if path else {}
            keys = [f"{group}.{key}" for key in node if key != "name" and f"{group}.{key}" not in given]
            if path is None or not keys:
                continue
            others = [other for other in composed.overrides if word_key(other).partition(".")[0] != group]
            before = compose_config(others, map(str, composed.search_path[1:])).choices[group]
            if before != composed.choices[group]:
                raise ConfigError(
                    f"{word}: {shorten(path)} sets {', '.join(keys)} for {group}={before}; give {keys[0]} too"
                )


def _check_task(composed: Composed) -> None:
    model, data, measured = composed.config["model"], composed.config["data"], composed.config["eval"]["name"]
    if model["task"] in data["tasks"]:
        if measured != model["task"]:
            raise ConfigError(
                f"eval={measured} ({composed.origin('eval.name')}): a model for {model['task']} is measured by "
                f"eval={model['task']}"
            )
        return
    folders = composed.search_path
    datasets = {name: option_content("data", name, folders) for name in options("data", folders)}
    fitting = [name for name, content in datasets.items() if model["task"] in content.get("tasks", ())]
    would = f"data={'|'.join(fitting)} would fit" if fitting else "no dataset is for this task"
    raise ConfigError(
        f"model={model['name']} needs data for {model['task']}, data={data['name']} gives "
        f"{', '.join(data['tasks']) or 'none'} ({composed.origin('data.tasks')}); {would}"
    )


def _check_kind(composed: Composed, settings: TaskSettings) -> None:
    """Check the parts that the kind of problem defines: ``eval``, ``model.asks``, ``model.learning``, its groups."""
    model, learning = composed.config["model"], settings.learning
    if learning is None and model.get("learning"):
        key = f"model.learning.{next(iter(model['learning']))}"
        raise ConfigError(
            f"{key} ({composed.origin(key)}): a model for {model['task']} has no settings model.learning; leave it out"
        )
    if learning is not None:
        learning = learning.chosen(model.get("learning") or {})
    for name in _groups_of_kind(composed):
        if name not in settings.groups:
            raise ConfigError(
                f"{name} ({composed.origin(name)}): a model for {model['task']} has no group {name}; leave it out"
            )
    schema = _schema(settings.eval, settings.asks, learning, tuple(settings.groups.items()))
    groups = {name: composed.config[name] for name in settings.groups if name in composed.config}
    found = typed(schema, {"eval": composed.config["eval"], "model": model, **groups}, composed)
    composed.config |= {name: found[name] for name in ("eval", *groups)}
    if "asks" in model:
        model["asks"] = found["model"]["asks"]
    if learning is not None:  # the record of a run shows the settings that nobody has set too
        model["learning"] = learning.model_validate(found["model"].get("learning", {})).model_dump(mode="json")


def _groups_of_kind(composed: Composed) -> list[str]:
    """Return the groups of the config that not all kinds of problem have."""
    return [name for name in composed.config if name in composed.choices and name not in ConfigSchema.model_fields]


@cache
def _schema(
    eval: type[EvalSettings],
    asks: type[Asks],
    learning: type[Learning] | None,
    groups: tuple[tuple[str, type[Strict]], ...],
) -> type[BaseModel]:
    """Return the schema of the parts of a config that a kind of problem defines."""
    fields: dict[str, Any] = {"asks": (asks, asks())}
    if learning is not None:
        fields["learning"] = (learning, None)
    of_model = create_model("ModelOfKind", __config__=ConfigDict(extra="allow"), **fields)
    more: dict[str, Any] = {name: (schema, ...) for name, schema in groups}
    return create_model("ConfigOfKind", eval=(eval, ...), model=(of_model, ...), **more)


def _check_length(composed: Composed) -> None:
    trainer = composed.config["trainer"]
    given = [key for key in ("max_steps", "max_epochs") if trainer[key] is not None]
    if composed.config["stage"] != "fit" or len(given) == 1:
        return
    if not given:
        raise ConfigError("trainer.max_steps and trainer.max_epochs are both null: set one to say how long to train")
    where = {key: composed.origin(f"trainer.{key}") for key in given}
    from_files = [key for key in given if not where[key].startswith("set on the command line")]
    if len(from_files) == 1:  # a value of the command line replaces that of a model or a recipe
        trainer[from_files[0]] = None
        return
    other = from_files[0] if from_files else given[1]
    both = " and ".join(f"trainer.{key}={trainer[key]} ({where[key]})" for key in given)
    raise ConfigError(f"{both}: only one can say how long to train; add trainer.{other}=null")


def _check_batch(composed: Composed) -> None:
    config = composed.config
    batch, accumulate = config["data"]["batch_size"], config["trainer"]["accumulate_grad_batches"]
    ranks = data_ranks(config)  # dp's one process may split its micro-batch unevenly
    parts = ranks * accumulate
    if batch % parts:
        near = dict.fromkeys((max(1, batch // parts) * parts, (batch // parts + 1) * parts))
        raise ConfigError(
            f"data.batch_size={batch} ({composed.origin('data.batch_size')}) is the global batch: not divisible by "
            f"{ranks} ranks x trainer.accumulate_grad_batches = {parts}; {' or '.join(map(str, near))} would be"
        )


def _check_strategy(composed: Composed, settings: TaskSettings) -> None:
    config = composed.config
    trainer, strategy = config["trainer"], config["strategy"]
    name, devices = strategy["name"], trainer["devices"] * trainer["num_nodes"]
    if name == "single" and devices != 1:
        raise ConfigError(
            f"trainer.devices={trainer['devices']} ({composed.origin('trainer.devices')}): strategy=single uses one "
            "device; strategy=auto, the default, picks one that uses all; or name it: ddp, fsdp, deepspeed_zero3"
        )
    if name == "dp" and trainer["num_nodes"] != 1:
        raise ConfigError(
            f"trainer.num_nodes={trainer['num_nodes']} ({composed.origin('trainer.num_nodes')}): strategy=dp is one "
            "process on one machine; strategy=ddp uses several"
        )
    optimizer = config["optimizer"]
    if name.startswith("deepspeed") and optimizer["name"] == "adagrad" and optimizer["momentum"]:
        raise ConfigError(
            f"optimizer.momentum={optimizer['momentum']} ({composed.origin('optimizer.momentum')}): deepspeed flattens "
            "tables, of which Adagrad moves single rows; use optimizer.momentum=0, or strategy=ddp or fsdp"
        )
    if name.startswith("deepspeed") and optimizer["name"] == "lamb":
        raise ConfigError(
            f"optimizer=lamb ({composed.origin('optimizer.name')}): it needs the norm of each parameter, and deepspeed "
            "flattens them into one; use strategy=ddp or fsdp, or optimizer=bert"
        )
    if name == "tensor_parallel" and devices % (strategy["tensor_parallel_size"] or trainer["devices"]):
        raise ConfigError(
            f"strategy.tensor_parallel_size={strategy['tensor_parallel_size']} "
            f"({composed.origin('strategy.tensor_parallel_size')}) does not divide the {devices} devices"
        )
    if (found := conflict(name, trainer, num_gpus()) or settings.conflict(config)) is not None:
        key, why = found
        value = reduce(getitem, key.split("."), config)
        raise ConfigError(f"{key.removesuffix('.name')}={value} ({composed.origin(key)}): {why}")


def _check_devices(composed: Composed) -> None:
    trainer = composed.config["trainer"]
    found = num_gpus()
    if trainer["accelerator"] != "gpu" or trainer["devices"] <= found:
        return
    where = composed.origin("trainer.accelerator")
    if not found:
        raise ConfigError(
            f"trainer.accelerator=gpu ({where}): this machine has no GPU; use trainer=cpu or trainer=auto"
        )
    raise ConfigError(f"trainer.devices={trainer['devices']}: this machine has only {found} GPU(s)")


def num_gpus() -> int:
    """Count NVIDIA devices as the kernel lists them, without a driver call."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) or len(list(Path("/dev").glob("nvidia[0-9]*")))


def _check_files(composed: Composed) -> None:
    config = composed.config
    ckpt, stage, resume = config["ckpt"], config["stage"], config["resume"]
    if ckpt is not None and not Path(ckpt).is_file() and not (ckpt and is_checkpoint(ckpt)):
        kind = "a folder, no checkpoint" if ckpt and Path(ckpt).is_dir() else "no such file or folder"
        raise ConfigError(f"ckpt={ckpt}: {kind} ({composed.origin('ckpt')}){_near_checkpoints(ckpt, config)}")
    if stage == "predict":
        if not config["input"]:
            raise ConfigError("stage=predict needs input=FILE or input=FOLDER: what to predict from")
        if not Path(config["input"]).exists():
            raise ConfigError(f"input={config['input']}: no such file or folder")
    if resume not in ("auto", "never") and not (Path(resume) / "run.json").is_file():
        runs = Path(config["paths"]["runs_dir"])
        names = ["auto", "never", *(str(path.parent) for path in runs.glob("*/run.json"))]
        raise ConfigError(
            f"resume={resume}: neither auto, never nor a run directory, which holds run.json{closest(resume, names)}"
        )


def _near_checkpoints(ckpt: str, config: dict[str, Any]) -> str:
    own = Path(ckpt) / "checkpoints" / "best.ckpt"
    if ckpt and own.is_dir():  # a run's directory was named
        return f"; did you mean {own}?"
    runs = Path(config["paths"]["runs_dir"])
    found = [str(path) for path in runs.glob("*/checkpoints/best.ckpt")]
    return closest(ckpt, found) or (f"; there is {found[0]}" if found else f"; there is no checkpoint in {runs}/ yet")


def _check_data(composed: Composed) -> None:
    data = composed.config["data"]
    if data.get("root") is None or data.get("example") is True:  # an example is generated where it is read
        return
    root = Path(data["root"])
    if data.get("fallback_root") is not None and not root.exists() and Path(data["fallback_root"]).is_dir():
        return
    needed = [root] if not root.is_dir() else [root / name for name in _required(data) if name]
    missing = next((path for path in needed if not path.exists() and archive_in(path) is None), None)
    if missing is not None:
        how = data.get("how_to_get") or "put the dataset there"
        raise ConfigError(f"data={data['name']}: {missing} does not exist ({composed.origin('data.root')}); {how}")


def _required(data: dict[str, Any]) -> list[str | None]:
    """Return the files that a dataset needs below its root; no validation set if a share is held out for it."""
    required: list[str | None] = data.get("requires", [])
    if data.get("val_share") is None or not isinstance(data.get("val"), dict):
        return required
    replaced = {*data["val"].values()} - {*data["train"].values()}
    return [name for name in required if name not in replaced]
