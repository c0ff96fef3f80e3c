"""Part 7: from files to the device: the speed of the transfer, and the share of training time spent waiting."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from proof import clock, jobs
from proof.runner import Proof


def run(proof: Proof) -> None:
    """Copy a batch of uint8 images, pinned and not; train on generated JPEGs with several numbers of workers."""
    root = proof.folder / "photos"
    count, size = (8, (64, 80)) if proof.tiny else (96, (800, 1066))
    make_photos(root, count, size)
    for workers in (0,) if proof.tiny else (4, 12):
        proof.item(
            f"training on JPEGs, {workers} workers", partial(_train, proof, root, workers), 2 if proof.tiny else 20
        )
    # Last, because only this uses the device in this process.
    proof.item("uint8 images to the device", partial(_copy, proof, size))


def _train(proof: Proof, root: Path, workers: int, found: dict[str, Any]) -> None:
    jobs.done(jobs.command(_words(proof, root, workers)))
    row = jobs.trained_rows(jobs.only_run(proof.folder / f"runs-loading-{workers}"))[-1]
    found.update(samples_per_s=row["train/samples_per_s"], share_of_waiting=row["train/data_wait"])


def _words(proof: Proof, root: Path, workers: int) -> list[str]:
    model = ["model=detr_tiny"] if proof.tiny else ["model=detr", "trainer.precision=bf16-mixed"]
    steps, batch = (4, 2) if proof.tiny else (40, 8)
    words = [*jobs.common_words(proof, f"runs-loading-{workers}"), *model, "data=coco", f"data.root={root}"]
    for split in ("train", "val"):
        words += [f"data.{split}.images=images", f"data.{split}.annotations=photos.json"]
    words += [f"data.batch_size={batch}", f"data.num_workers={workers}", "data.category_ids=contiguous"]
    words += [f"trainer.max_steps={steps}", f"trainer.val_every_n_steps={steps}", "callbacks.pictures=0"]
    return [
        *words,
        f"trainer.log_every_n_steps={steps // 2}",
        "scheduler.warmup_steps=0",
        "debug.limit_eval_batches=0.1",
    ]


def make_photos(root: Path, count: int, size: tuple[int, int]) -> None:
    """Write smooth random JPEGs with two boxes each in COCO's layout."""
    from PIL import Image

    generator = np.random.default_rng(0)
    (root / "images").mkdir(parents=True, exist_ok=True)
    height, width = size
    images, annotations = [], []
    for number in range(1, count + 1):
        small = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        name = f"{number:06d}.jpg"
        Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(
            root / "images" / name, quality=90
        )
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for half in range(2):
            box = [half * width / 2 + 2, height / 4, width / 3, height / 2]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": half + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 1, "name": "left"}, {"id": 2, "name": "right"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "photos.json").write_text(json.dumps(content), encoding="utf-8")


def _copy(proof: Proof, size: tuple[int, int], found: dict[str, Any]) -> None:
    import torch

    if proof.device != "cuda":
        found["not_run"] = "needs CUDA"
        return
    device = torch.device(proof.device)
    batch = torch.randint(0, 256, (16, 3, *size), dtype=torch.uint8)
    pinned = batch.pin_memory()
    calls = {
        "pageable": lambda: batch.to(device),
        "pinned": lambda: pinned.to(device, non_blocking=True),
        "as float32": lambda: batch.float().to(device),
    }
    times = clock.seconds_of(calls, device, 10)
    found["images_per_s"] = {name: len(batch) / seconds for name, seconds in times.items()}
