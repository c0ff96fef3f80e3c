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
from lab.callbacks.progress import ProgressBar
from lab.callbacks.steps import StepLog
from lab.data.datamodule import DetectionDataModule
from lab.data.images import find_images, unreadable
from lab.errors import DataError
from lab.files import write_text
from lab.report.pictures import contact_sheet, draw_detections, side_by_side
from lab.report.tables import print_metrics
from lab.run_directory import describe_versions, now
from lab.structures import DetectionPredictions
from lab.tasks.detection import DetectionTask

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN_ABOVE = 0.3
"""The score from which a prediction is drawn."""


@dataclass
class StageResult:
    """Metrics of a stage, and its pictures on one sheet."""

    metrics: dict[str, float]
    sheet: Image | None = None


def run_stage(
    stage: str, config: Mapping[str, Any], task: DetectionTask, data: DetectionDataModule, folder: Path
) -> StageResult:
    """Evaluate on the validation or test set and draw the first images into ``folder/pictures``."""
    trainer = _trainer(config)
    if stage == "test":
        trainer.test(task, dataloaders=data.test_dataloader(), verbose=False)
    else:
        trainer.validate(task, dataloaders=data.val_dataloader(), verbose=False)
    metrics = dict(task.results)
    split = "test" if stage == "test" else "val"
    with trainer.precision_plugin.forward_context():
        sheet = _draw(task, data, split, folder / "pictures", config["callbacks"]["pictures"])
    return StageResult(metrics, sheet)


def evaluate(config: dict[str, Any], home: Path) -> int:
    """Run ``stage=validate|test|predict`` and write into a folder of its own inside the run directory ``home``.

    Returns:
        The exit code 0.

    Raises:
        LabError: the checkpoint, the data or the input cannot be used.
    """
    prepare(config)
    data = build_data(config)
    paths = find_images(config["input"]) if config["stage"] == "predict" else []
    if config["stage"] != "predict":
        make_plan({**config, "trainer": {**config["trainer"], "max_steps": 1}}, data)
    task = load_task(config, data)
    name = Path(config["ckpt"]).stem if config["ckpt"] else "pretrained"
    folder = home / f"{config['stage']}-{name}"
    if config["stage"] == "predict":
        _predict(config, task, data, paths, folder)
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    result = run_stage(config["stage"], config, task, data, folder)
    record = {
        "time": now(),
        "ckpt": config["ckpt"],
        "result": result.metrics,
        "versions": describe_versions(),
        "config": config,
    }
    write_text(folder / "result.json", json.dumps(record, indent=2) + "\n")
    print_metrics(result.metrics, f"{config['stage']} of {config['ckpt'] or config['model']['pretrained']}")
    print(f"written   {folder / 'result.json'}\npictures  {folder / 'pictures'}")
    return 0


def _trainer(config: Mapping[str, Any]) -> pl.Trainer:
    log = StepLog(1, 1, 1)
    callbacks: list[pl.Callback] = [ProgressBar(log, 0)] if config["callbacks"]["progress"] else []
    return pl.Trainer(**device_arguments(config), callbacks=callbacks, logger=False, inference_mode=True, **QUIET)


def _predict(
    config: Mapping[str, Any], task: DetectionTask, data: DetectionDataModule, paths: list[Path], folder: Path
) -> None:
    batches = _trainer(config).predict(task, dataloaders=data.folder_dataloader(paths)) or []
    bad = [paths[unreadable(number)] for image_ids, _ in batches for number in image_ids.tolist() if number < 0]
    if len(bad) == len(paths):
        raise DataError(f"input={config['input']}: cannot be read as an image{': none of them' if bad[1:] else ''}")
    for path in bad:
        print(f"warning: {path} cannot be read as an image and is left out", file=sys.stderr)
    results: list[dict[str, Any]] = []
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for image_ids, predictions in batches:
        for row, number in enumerate(image_ids.tolist()):
            if number >= 0:
                picture = _annotate(paths[number], predictions, row, task.class_names)
                picture.save(pictures / f"{number:05d}-{paths[number].stem}.png")
                results += _coco_results(predictions, row, number)
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


def _annotate(path: Path, predictions: DetectionPredictions, row: int, class_names: list[str]) -> Image:
    from PIL import Image as PILImage

    with PILImage.open(path) as file:
        image = file.convert("RGB")
    found = (predictions.boxes[row], predictions.labels[row], predictions.scores[row])
    return draw_detections(image, *found, class_names, SHOWN_ABOVE)


def _coco_results(predictions: DetectionPredictions, row: int, number: int) -> list[dict[str, Any]]:
    boxes = predictions.boxes[row].clone()
    boxes[:, 2:] -= boxes[:, :2]
    columns = (boxes.tolist(), predictions.scores[row].tolist(), predictions.labels[row].tolist())
    return [
        {"image_id": number, "category_id": label, "bbox": [round(value, 2) for value in box], "score": score}
        for box, score, label in zip(*columns, strict=True)
    ]


@torch.inference_mode()
def _draw(task: DetectionTask, data: DetectionDataModule, split: str, folder: Path, count: int) -> Image | None:
    """Draw truth beside prediction for the first ``count`` images; save each and a sheet of all."""
    if count == 0:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    task.eval()
    loader = data.test_dataloader() if split == "test" else data.val_dataloader()
    panels: list[Image] = []
    for batch in loader:
        batch = batch.to(task.device)
        predictions = task.net.predict(task(batch), batch.targets.sizes)
        starts = [0]
        for number in batch.targets.counts:
            starts.append(starts[-1] + number)
        for row in range(min(len(batch.images), count - len(panels))):
            height, width = (int(value) for value in batch.targets.sizes[row].tolist())
            image = batch.images[row, :, :height, :width].cpu()
            truth = slice(starts[row], starts[row + 1])
            shown = (batch.targets.boxes[truth], batch.targets.labels[truth])
            found = (predictions.boxes[row], predictions.labels[row], predictions.scores[row])
            panels.append(side_by_side(image, shown, found, task.class_names, SHOWN_ABOVE))
            panels[-1].save(folder / f"{split}-{len(panels) - 1:03d}.png")
        if len(panels) >= count:
            break
    sheet = contact_sheet(panels)
    sheet.save(folder / f"{split}.png")
    return sheet


def describe_device(trainer: pl.Trainer) -> str:
    """Return the name of what a Trainer ran on."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
