"""The stages that train nothing: validate, test and predict, with their pictures and files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from lab.callbacks.pictures import Pictures
from lab.callbacks.progress import ProgressBar
from lab.callbacks.steps import StepLog
from lab.data.datamodule import DataModule
from lab.data.presence import describe_presence
from lab.experiment.assembly import QUIET, build_data, device_arguments, load_task, make_plan, prepare
from lab.experiment.planning import settle_strategy
from lab.loggers.undefined import with_nulls
from lab.report.tables import print_metrics, print_notes, print_table
from lab.strategies import collectives
from lab.structures import Table
from lab.system.files import write_text
from lab.system.provenance import describe_versions, now
from lab.system.ranks import Place
from lab.training.spec import task_spec
from lab.training.task import Task

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class StageResult:
    """Metrics of a stage, how they were taken, its tables, and its pictures on one sheet."""

    metrics: dict[str, float]
    protocol: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    sheet: Image | None = None


def run_stage(
    stage: str, config: Mapping[str, Any], task: Task, data: DataModule, folder: Path, place: Place
) -> StageResult:
    """Evaluate on the validation or test set and draw the first images into ``folder/pictures``."""
    split = "test" if stage == "test" else "val"
    pictures = Pictures(
        folder / "pictures", split, config["callbacks"]["pictures"], task_spec(task.kind).load_pictures()
    )
    trainer = _trainer(config, place, [pictures])
    if stage == "test":
        trainer.test(task, dataloaders=data.test_dataloader(), verbose=False)
    else:
        trainer.validate(task, dataloaders=data.val_dataloader(), verbose=False)
    return StageResult(dict(task.results), task.describe_evaluation(), dict(task.tables), pictures.sheet)


def evaluate(config: dict[str, Any], home: Path, place: Place) -> int:
    """Run ``stage=validate|test|predict`` and write into a folder of its own inside the run directory ``home``.

    Returns:
        The exit code 0.

    Raises:
        LabError: the checkpoint, the data or the input cannot be used.
    """
    prepare(config)
    data = build_data(config)
    make_plan({**config, "trainer": {**config["trainer"], "max_steps": 1}}, data, place)
    task = load_task(config, data)
    config, _ = settle_strategy(config, task, data, place, training=False)
    name = Path(config["ckpt"]).stem if config["ckpt"] else "pretrained"
    folder = home / f"{config['stage']}-{name}"
    if config["stage"] == "predict":
        predictor = task_spec(task.kind).load_predictor()(config["input"], task, data)
        predictor.run(partial(_trainer, config, place), folder, place.rank)
        return 0
    presence = describe_presence(data, ("test" if config["stage"] == "test" else "val",))
    if place.rank == 0:
        print_notes(presence)
    result = run_stage(config["stage"], config, task, data, folder, place)
    if place.rank == 0:
        _write_result(config, result, folder)
    return 0


def _write_result(config: Mapping[str, Any], result: StageResult, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "time": now(),
        "ckpt": config["ckpt"],
        "result": with_nulls(result.metrics),
        "protocol": result.protocol,
        "eval": config["eval"],
        "world_size": collectives.world_size(),
        "versions": describe_versions(),
        "config": config,
    }
    write_text(folder / "result.json", json.dumps(record, indent=2) + "\n")
    write_tables(result.tables, folder)
    print_metrics(
        result.metrics, f"{config['stage']} of {config['ckpt'] or config['model']['pretrained']}", result.protocol
    )
    print(f"written   {folder / 'result.json'}")
    if result.sheet is not None:
        print(f"pictures  {folder / 'pictures'}")


def write_tables(tables: Mapping[str, Table], folder: Path) -> None:
    """Print the tables of an evaluation and write each as CSV into ``folder/tables``."""
    for name, rows in tables.items():
        print_table(rows, name.replace("_", " "))
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        write_text(folder / "tables" / f"{name}.csv", text.getvalue())


def _trainer(config: Mapping[str, Any], place: Place, callbacks: list[pl.Callback]) -> pl.Trainer:
    if config["callbacks"]["progress"] and place.rank == 0:
        callbacks = [*callbacks, ProgressBar(StepLog(1, 1, 1), 0)]
    # FSDP2 changes its parameters in place, which inference mode forbids; no_grad costs next to nothing more.
    return pl.Trainer(
        **device_arguments(config, place), callbacks=callbacks, logger=False, inference_mode=False, **QUIET
    )


def describe_device(trainer: pl.Trainer) -> str:
    """Return the name of what a Trainer ran on."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
