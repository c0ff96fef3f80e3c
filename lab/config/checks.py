"""What can be refused from the config and the file system alone: types, combinations, files. No torch.

Everything here answers with one line that says what is wrong, where it was set and what would be right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lab.config.compose import Composed, options
from lab.config.schemas import Config
from lab.config.signatures import check_arguments
from lab.errors import ConfigError, closest

DATA_METADATA = frozenset({"name", "tasks", "requires", "how_to_get"})
"""Keys of a data node that describe it and are no arguments of its target."""


def check_config(composed: Composed) -> None:
    """Check a composed config.

    Raises:
        ConfigError: with the first thing that is wrong.
    """
    config = composed.config
    try:
        Config.model_validate(config)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, composed)) from None
    check_arguments("model.net", config["model"]["net"], frozenset({"num_classes"}))
    check_arguments("data", config["data"], DATA_METADATA)
    _check_task(composed)
    _check_length(config)
    _check_batch(composed)
    _check_devices(composed)
    _check_files(composed)


def _first_problem(error: ValidationError, composed: Composed) -> str:
    problem = error.errors()[0]
    # Discriminated unions put the chosen member's name into the location; it is no key of the config.
    location = [str(part) for part in problem["loc"]]
    node: Any = composed.config
    keys = []
    for part in location:
        if isinstance(node, dict) and part not in node and part != location[-1]:
            continue
        keys.append(part)
        node = node.get(part) if isinstance(node, dict) else None
    key = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        parent = composed.config
        for part in keys[:-1]:
            parent = parent[part]
        known = _known_keys(keys[:-1], parent)
        return f"{key}: unknown key {keys[-1]!r} ({composed.origin(key)}){closest(keys[-1], known)}"
    value = f"={problem['input']}" if isinstance(problem["input"], str | int | float | bool) else ""
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if problem["type"].startswith("union_tag"):
        key, value = f"{key}.name", f"={composed.config.get(key, {}).get('name')}"
    return f"{key}{value}: {message} ({composed.origin(key)})" if key else message


def _known_keys(path: list[str], parent: dict[str, Any]) -> list[str]:
    from lab.config import schemas

    names = set(parent)
    if not path:
        names |= set(schemas.Config.model_fields)
    return sorted(names)


def _check_task(composed: Composed) -> None:
    model, data = composed.config["model"], composed.config["data"]
    if model["task"] in data["tasks"]:
        return
    import yaml

    fitting = []
    for name in options("data", composed.search_path):
        path = next(
            folder / "data" / f"{name}.yaml"
            for folder in composed.search_path
            if (folder / "data" / f"{name}.yaml").is_file()
        )
        if model["task"] in (yaml.safe_load(path.read_text()) or {}).get("tasks", []):
            fitting.append(name)
    raise ConfigError(
        f"model={model['name']} needs data for {model['task']}, data={data['name']} gives {', '.join(data['tasks'])}; "
        f"data={'|'.join(fitting) or '?'} would fit"
    )


def _check_length(config: dict[str, Any]) -> None:
    trainer = config["trainer"]
    if config["stage"] != "fit":
        return
    given = [key for key in ("max_steps", "max_epochs") if trainer[key] is not None]
    if len(given) != 1:
        problem = (
            "neither is given" if not given else f"both are given ({trainer['max_steps']}, {trainer['max_epochs']})"
        )
        raise ConfigError(
            f"trainer.max_steps or trainer.max_epochs says how long to train: {problem}; set one, the other to null"
        )


def _check_batch(composed: Composed) -> None:
    config = composed.config
    batch, accumulate = config["data"]["batch_size"], config["trainer"]["accumulate_grad_batches"]
    parts = config["trainer"]["devices"] * accumulate
    if batch % parts:
        near = (max(1, batch // parts) * parts, (batch // parts + 1) * parts)
        raise ConfigError(
            f"data.batch_size={batch} ({composed.origin('data.batch_size')}) is the global batch: not divisible by "
            f"trainer.devices x trainer.accumulate_grad_batches = {parts}; {near[0]} or {near[1]} would be"
        )


def _check_devices(composed: Composed) -> None:
    trainer, strategy = composed.config["trainer"], composed.config["strategy"]
    if strategy["name"] == "single" and trainer["devices"] != 1:
        raise ConfigError(
            f"trainer.devices={trainer['devices']}: strategy=single uses one device "
            f"({composed.origin('trainer.devices')})"
        )
    if trainer["accelerator"] == "gpu" and not _num_gpus():
        raise ConfigError("trainer.accelerator=gpu: this machine has no GPU; use trainer=cpu or trainer=auto")


def _num_gpus() -> int:
    """Count NVIDIA devices as the kernel lists them, without a driver call."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) or len(list(Path("/dev").glob("nvidia[0-9]*")))


def _check_files(composed: Composed) -> None:
    config = composed.config
    ckpt, stage, data = config["ckpt"], config["stage"], config["data"]
    if ckpt is not None and not Path(ckpt).exists():
        raise ConfigError(f"ckpt={ckpt}: no such file{_near_checkpoints(ckpt, config)}")
    if stage == "predict":
        if config["input"] is None:
            raise ConfigError("stage=predict needs input=FILE or input=FOLDER with the images to look at")
        if not Path(config["input"]).exists():
            raise ConfigError(f"input={config['input']}: no such file or folder")
    resume = config["resume"]
    if resume not in ("auto", "never") and not (Path(resume) / "run.json").is_file():
        raise ConfigError(f"resume={resume}: neither auto, never nor a run directory (one that holds run.json)")
    if data.get("root") is not None:
        root = Path(data["root"])
        missing = (
            [str(root)]
            if not root.is_dir()
            else [str(root / name) for name in data.get("requires", []) if name and not (root / name).exists()]
        )
        if missing:
            how = data.get("how_to_get") or "put the dataset there"
            raise ConfigError(
                f"data={data['name']}: {missing[0]} does not exist ({composed.origin('data.root')}); {how}"
            )


def _near_checkpoints(ckpt: str, config: dict[str, Any]) -> str:
    runs = Path(config["paths"]["runs_dir"])
    found = [str(path) for path in runs.glob("*/checkpoints/best.ckpt")] if runs.is_dir() else []
    return closest(ckpt, found) or (f"; there is {found[0]}" if found else f"; there is no checkpoint in {runs}/ yet")
