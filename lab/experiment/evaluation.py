"""The stages that train nothing: validate, test and predict, with their pictures and files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lab.callbacks.media import ShownSamples
from lab.callbacks.pictures import Pictures
from lab.checkpoint.format import CheckpointReader
from lab.data.datamodule import DataModule
from lab.data.presence import describe_presence
from lab.experiment.assembly import build_data, give_plan, load_plan, load_task, prepare
from lab.experiment.planning import Subject, settle_strategy
from lab.experiment.stage_result import Shown, StageResult
from lab.experiment.trainer import make_eval_trainer
from lab.experiment.wandb_logger import log_stage, num_shown
from lab.loggers.undefined import with_nulls
from lab.report.animation import Animation, save_picture
from lab.report.tables import print_metrics, print_notes, print_table
from lab.run_directory import stage_folder
from lab.run_progress import beat_at_start
from lab.strategies import collectives
from lab.structures import Table
from lab.system.files import is_checkpoint, write_text
from lab.system.provenance import describe_versions, now
from lab.system.ranks import Place
from lab.training.spec import task_spec
from lab.training.task import Task

_AVERAGE = "average/"
"""With which the names of averaged weights begin in a checkpoint."""

SPLITS = {"validate": "val", "test": "test"}
"""The split that each measuring stage evaluates."""


def run_stage(stage: str, subject: Subject, folder: Path, shown: int = 0) -> StageResult:
    """Evaluate on the validation or test set; draw its first images, and the whole, into ``folder/pictures``.

    Args:
        stage: validate or test.
        subject: what is evaluated.
        folder: of the run or of the stage.
        shown: how many samples are kept for a tracker.
    """
    task, split = subject.task, SPLITS[stage]
    count, panels = subject.config["callbacks"]["pictures"], task_spec(task.kind).load_pictures()
    pictures = Pictures(folder / "pictures", split, count, panels)
    taken = ShownSamples(shown, task_spec(task.kind).load_media() if shown else None)
    trainer = make_eval_trainer(subject.config, subject.place, [pictures, taken])
    if stage == "test":
        trainer.test(task, dataloaders=subject.data.test_dataloader(), verbose=False)
    else:
        trainer.validate(task, dataloaders=subject.data.val_dataloader(), verbose=False)
    seen = Shown(taken.samples, class_names=getattr(task, "class_names", ()))
    if subject.place.rank == 0 and (confusion := task.confusion_matrix(split)) is not None:
        seen.confusion = confusion.tolist()
    if count and subject.place.rank == 0:
        for name, picture in task.drawings(split).items():
            if not isinstance(picture, Animation):
                seen.drawings[name] = picture
            (folder / "pictures").mkdir(parents=True, exist_ok=True)
            save_picture(picture, folder / "pictures" / f"{split}-{name}")
    lower = [name for name in task.results if task.better(name) == "min"]
    files = dict(task.files)
    protocol = task.describe_evaluation()
    return StageResult(dict(task.results), protocol, dict(task.tables), files, pictures.sheet, lower, seen)


def evaluate(config: dict[str, Any], home: Path, place: Place | None = None, data: DataModule | None = None) -> None:
    """Run ``stage=validate|test|predict`` and write into the stage's own folder inside the run directory ``home``.

    Args:
        config: the resolved config; it is not changed.
        home: the run directory; made if it does not exist.
        place: the rank of this process and the number of ranks; None for a job of one process.
        data: a DataModule object of the caller, which replaces the one that the config names.

    Raises:
        LabError: the checkpoint, the data or the input cannot be used.
    """
    place = place or Place()
    if place.rank == 0:
        beat_at_start()
    prepare(config)
    data = build_data(config, data)
    give_plan(data, load_plan(config, place))
    task = load_task(config, data)
    subject = Subject(config, task, data, place, training=False)
    config, _ = settle_strategy(subject)
    folder = stage_folder(config, home)
    if config["stage"] == "predict":
        spec = task_spec(task.kind)
        groups = {name: config[name] for name in spec.load_settings().groups}
        predictor = spec.load_predictor()(config["input"], task, data, groups)
        predictor.run(partial(make_eval_trainer, config, place), folder, place.rank)
        return
    presence = describe_presence(data, (SPLITS[config["stage"]],))
    if place.rank == 0:
        print_notes([*presence, *_of_weights(config["ckpt"], task)])
    shown = num_shown(config) if place.rank == 0 else 0
    result = run_stage(config["stage"], replace(subject, config=config), folder, shown)
    if place.rank == 0:
        _write_result(config, result, folder, task.weights_kind)
        log_stage(config, home, folder, result, task.trained_steps)


def _of_weights(ckpt: str | None, task: Task) -> list[str]:
    """Return a note if a checkpoint's training was measured by other weights than those that are loaded of it."""
    if (
        not ckpt
        or not is_checkpoint(ckpt)
        or task.weights_kind != "raw"
        or not CheckpointReader(Path(ckpt)).names(_AVERAGE)
    ):
        return []
    return [
        f"{ckpt} holds averaged weights too, by which its training was measured, as best.ckpt is; these are the others"
    ]


def _write_result(config: Mapping[str, Any], result: StageResult, folder: Path, weights: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "time": now(),
        "ckpt": config["ckpt"],
        "weights": weights,
        "result": with_nulls(result.metrics),
        "protocol": result.protocol,
        "lower_is_better": result.lower_is_better,
        "eval": config["eval"],
        "world_size": collectives.world_size(),
        "versions": describe_versions(),
        "config": config,
    }
    write_text(folder / "result.json", json.dumps(record, indent=2) + "\n")
    write_tables(result.tables, folder)
    write_files(result.files, folder)
    title = f"{config['stage']} of {config['ckpt'] or config['model']['pretrained']}"
    print_metrics(result.metrics, title, result.protocol, result.lower_is_better)
    print(f"written   {', '.join(str(folder / name) for name in ('result.json', *result.files))}")
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


def write_files(files: Mapping[str, str], folder: Path) -> None:
    """Write the files of an evaluation into ``folder``."""
    for name, text in files.items():
        write_text(folder / name, text)
