"""The stages that train nothing: validate, test and predict, with their pictures and files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from lab.assembly import QUIET, build_data, device_arguments, load_task, make_plan, prepare
from lab.callbacks.pictures import SHOWN_ABOVE, Pictures
from lab.callbacks.progress import ProgressBar
from lab.callbacks.steps import StepLog
from lab.data.datamodule import DetectionDataModule
from lab.data.images import find_images, unreadable
from lab.errors import DataError
from lab.files import write_text
from lab.planning import settle_strategy
from lab.ranks import Place
from lab.report.pictures import draw_detections
from lab.report.tables import print_metrics
from lab.run_directory import describe_versions, now
from lab.strategies import collectives
from lab.structures import DetectionPredictions
from lab.tasks.detection import DetectionTask

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class StageResult:
    """Metrics of a stage, and its pictures on one sheet."""

    metrics: dict[str, float]
    sheet: Image | None = None


def run_stage(
    stage: str, config: Mapping[str, Any], task: DetectionTask, data: DetectionDataModule, folder: Path, place: Place
) -> StageResult:
    """Evaluate on the validation or test set and draw the first images into ``folder/pictures``."""
    split = "test" if stage == "test" else "val"
    pictures = Pictures(folder / "pictures", split, config["callbacks"]["pictures"])
    trainer = _trainer(config, place, [pictures])
    if stage == "test":
        trainer.test(task, dataloaders=data.test_dataloader(), verbose=False)
    else:
        trainer.validate(task, dataloaders=data.val_dataloader(), verbose=False)
    return StageResult(dict(task.results), pictures.sheet)


def evaluate(config: dict[str, Any], home: Path, place: Place) -> int:
    """Run ``stage=validate|test|predict`` and write into a folder of its own inside the run directory ``home``.

    Returns:
        The exit code 0.

    Raises:
        LabError: the checkpoint, the data or the input cannot be used.
    """
    prepare(config)
    data = build_data(config)
    paths = find_images(config["input"]) if config["stage"] == "predict" else []
    make_plan({**config, "trainer": {**config["trainer"], "max_steps": 1}}, data, place)
    task = load_task(config, data)
    config, _ = settle_strategy(config, task, data, place, training=False)
    name = Path(config["ckpt"]).stem if config["ckpt"] else "pretrained"
    folder = home / f"{config['stage']}-{name}"
    if config["stage"] == "predict":
        found = _predict(config, task, data, paths, place)
        if place.rank == 0:
            _write_predictions(config, task, paths, found, folder)
        return 0
    result = run_stage(config["stage"], config, task, data, folder, place)
    if place.rank == 0:
        _write_result(config, result, folder)
    return 0


def _write_result(config: Mapping[str, Any], result: StageResult, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "time": now(),
        "ckpt": config["ckpt"],
        "result": result.metrics,
        "world_size": collectives.world_size(),
        "versions": describe_versions(),
        "config": config,
    }
    write_text(folder / "result.json", json.dumps(record, indent=2) + "\n")
    print_metrics(result.metrics, f"{config['stage']} of {config['ckpt'] or config['model']['pretrained']}")
    print(f"written   {folder / 'result.json'}\npictures  {folder / 'pictures'}")


def _trainer(config: Mapping[str, Any], place: Place, callbacks: list[pl.Callback]) -> pl.Trainer:
    if config["callbacks"]["progress"] and place.rank == 0:
        callbacks = [*callbacks, ProgressBar(StepLog(1, 1, 1), 0)]
    # FSDP2 changes its parameters in place, which inference mode forbids; no_grad costs next to nothing more.
    return pl.Trainer(
        **device_arguments(config, place), callbacks=callbacks, logger=False, inference_mode=False, **QUIET
    )


Found = tuple[int, DetectionPredictions]
"""The number of a file (below 0: it cannot be read) and what was found in it, as a batch of one."""


def _predict(
    config: Mapping[str, Any], task: DetectionTask, data: DetectionDataModule, paths: list[Path], place: Place
) -> list[Found]:
    """Return what was found in every file, in their order, on rank 0."""
    batches = _trainer(config, place, []).predict(task, dataloaders=data.folder_dataloader(paths)) or []
    found = [
        (int(number), predictions.rows(slice(index, index + 1)))
        for image_ids, predictions in batches
        for index, number in enumerate(image_ids.tolist())
    ]
    return sorted(collectives.collect(found), key=lambda pair: pair[0] if pair[0] >= 0 else unreadable(pair[0]))


def _write_predictions(
    config: Mapping[str, Any], task: DetectionTask, paths: list[Path], found: list[Found], folder: Path
) -> None:
    bad = [paths[unreadable(number)] for number, _ in found if number < 0]
    if len(bad) == len(paths):
        raise DataError(f"input={config['input']}: cannot be read as an image{': none of them' if bad[1:] else ''}")
    for path in bad:
        print(f"warning: {path} cannot be read as an image and is left out", file=sys.stderr)
    results: list[dict[str, Any]] = []
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for number, predictions in found:
        if number >= 0:
            picture = _annotate(paths[number], predictions, task.class_names)
            picture.save(pictures / f"{number:05d}-{paths[number].stem}.png")
            results += _coco_results(predictions, number)
    write_text(folder / "results.json", json.dumps(results) + "\n")
    names = [{"id": number, "name": name} for number, name in enumerate(task.class_names)]
    images = [{"id": number, "file_name": str(path)} for number, path in enumerate(paths) if path not in bad]
    write_text(folder / "images.json", json.dumps({"images": images, "categories": names}, indent=1) + "\n")
    print(
        f"{len(images)} images, {len(results)} detections (pictures show scores above {SHOWN_ABOVE})"
        f"{f', {len(bad)} files left out' if bad else ''}"
    )
    print(f"written   {folder / 'results.json'} (COCO's format; images.json names the images and categories)")
    print(f"pictures  {pictures}")


def _annotate(path: Path, predictions: DetectionPredictions, class_names: list[str]) -> Image:
    from PIL import Image as PILImage

    with PILImage.open(path) as file:
        image = file.convert("RGB")
    found = (predictions.boxes[0], predictions.labels[0], predictions.scores[0])
    return draw_detections(image, *found, class_names, SHOWN_ABOVE)


def _coco_results(predictions: DetectionPredictions, number: int) -> list[dict[str, Any]]:
    boxes = predictions.boxes[0].clone()
    boxes[:, 2:] -= boxes[:, :2]
    columns = (boxes.tolist(), predictions.scores[0].tolist(), predictions.labels[0].tolist())
    return [
        {"image_id": number, "category_id": label, "bbox": [round(value, 2) for value in box], "score": score}
        for box, score, label in zip(*columns, strict=True)
    ]


def describe_device(trainer: pl.Trainer) -> str:
    """Return the name of what a Trainer ran on."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
