"""Makes the W&B logger of a run from its config and its record, and tells it of evaluations."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.experiment.stage_result import StageResult
from lab.loggers.wandb_media import log_evaluation, log_pictures, log_samples
from lab.loggers.wandb_run import WandbRun
from lab.loggers.wandb_state import WandbState
from lab.run_directory import RunDirectory
from lab.run_record import read_record
from lab.strategies import collectives


def make_wandb(config: Mapping[str, Any], run: RunDirectory) -> WandbRun | None:
    """Return the W&B logger of the run directory, if W&B is on; call it after the dataset is recorded."""
    return _make(config, run.path, run.record)


def num_shown(config: Mapping[str, Any]) -> int:
    """Return how many samples of an evaluation W&B gets."""
    settings = config["logger"].get("wandb")
    return 0 if settings is None or settings["mode"] == "disabled" else int(settings["media"])


def log_stage(config: Mapping[str, Any], home: Path, folder: Path, result: StageResult, step: int) -> None:
    """Send W&B the result of a stage that trains nothing, as a run of its own in the group of the training.

    A repeated stage replaces the values of the earlier one.

    Args:
        config: the resolved config.
        home: the run directory whose checkpoint was evaluated.
        folder: the stage's folder inside, where W&B's files go.
        result: of the stage.
        step: the optimizer step of the checkpoint.
    """
    record, _ = read_record(home / "run.json")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    record = {**record, "name": home.name, "command": command, "overrides": []}
    training = WandbState(home)
    training.read()
    wandb = _make(config, folder, record, f"{home.name} {folder.name}", training.given.get("group"))
    if wandb is None:
        return
    wandb.log_metrics(result.metrics, step)
    show_evaluation(wandb, "val" if config["stage"] == "validate" else "test", result, step)
    wandb.finish(state="finished")


def show_evaluation(wandb: WandbRun, split: str, result: StageResult, step: int) -> None:
    """Send W&B what it shows of an evaluation besides numbers; without samples the sheet of its pictures.

    Args:
        wandb: the W&B run.
        split: val or test.
        result: of the evaluation.
        step: the optimizer step.
    """
    shown, drawn = result.shown, {f"{split}/{name}": picture for name, picture in result.shown.drawings.items()}
    log_samples(wandb, split, shown.samples, shown.class_names, step, table=True)
    log_evaluation(wandb, split, result.tables, shown.confusion, shown.class_names, step)
    if result.sheet is not None and not shown.samples:
        drawn[f"{split}/predictions"] = result.sheet
    log_pictures(wandb, drawn, step)


def shown_config(config: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resolved config as W&B shows it, and where the run comes from: keys that begin with ``lab/``.

    Groups stay dicts: W&B shows, filters and sorts by ``optimizer.lr``.

    Args:
        config: the resolved config.
        record: the content of ``run.json``.
    """
    return {
        **config,
        "lab/run": record.get("name"),
        "lab/commit": record.get("commit"),
        "lab/sources": record.get("sources"),
        "lab/data_fingerprint": record.get("dataset"),
        "lab/world_size": collectives.world_size(),
    }


def _make(
    config: Mapping[str, Any], folder: Path, record: Mapping[str, Any], name: str = "", group: str | None = None
) -> WandbRun | None:
    settings = config["logger"].get("wandb")
    if settings is None or settings["mode"] == "disabled":
        return None
    return WandbRun(
        folder,
        project=settings["project"],
        name=name or settings["name"],
        config=shown_config(config, record),
        tags=[config["model"]["name"], config["data"]["name"], *settings["tags"]],
        group=settings["group"] or group,
        job_type=settings["job_type"] or config["stage"],
        notes=settings["notes"] or _notes(record),
        mode=settings["mode"],
        git_commit=record.get("commit"),
        system_interval=settings["system_interval"],
    )


def _notes(record: Mapping[str, Any]) -> str:
    """Return the command of the run; for a job of a sweep that which would repeat it alone."""
    command, words = str(record.get("command", "")), [str(word) for word in record.get("overrides", [])]
    if all(word in command for word in words):
        return command
    return f"{command.partition(' ')[0]} {shlex.join(words)}"
