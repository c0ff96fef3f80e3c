"""Measure ``stage=predict`` on a folder of photos from end to end, as a webcam's pictures would go through it.

    OMP_NUM_THREADS=1 python scripts/measure_prediction.py RUN_OR_CHECKPOINT --photos 200
    OMP_NUM_THREADS=1 python scripts/measure_prediction.py RUN_OR_CHECKPOINT --input photos/ data.batch_size=1

Without ``--input`` the photos are generated, of 640 x 480 as JPEGs. Prediction runs in one process (no workers), so
that every part of the time can be told; further words are overrides of the run's config. What it writes stays where
``stage=predict`` writes it. The seconds are wall-clock time from the first file to the last result; the start of
Python, the checkpoint and the data module do not count. Memory is the most that the process has held, before and after.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

HEIGHT, WIDTH, QUALITY = 480, 640, 90
SEED = 0


def main() -> int:
    """Parse the command line, predict, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", help="a detector's checkpoint or run")
    parser.add_argument("words", nargs="*", help="overrides, such as data.batch_size=1")
    parser.add_argument("--input", type=Path, help="a folder of photos (default: generated ones)")
    parser.add_argument("--photos", type=int, default=200, help="how many are generated (default: 200)")
    given = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        source = given.input or photos(Path(folder), given.photos)
        report(measure(given.ckpt, source, given.words))
    return 0


def photos(folder: Path, count: int) -> Path:
    """Write pictures with the colours and the grain of photos, and a few rectangles, as JPEGs."""
    numbers = np.random.default_rng(SEED)
    for index in range(count):
        coarse = Image.fromarray(numbers.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels += numbers.integers(-6, 7, pixels.shape, dtype=np.int16)
        for _ in range(4):
            top, left = numbers.integers(0, HEIGHT - 80), numbers.integers(0, WIDTH - 80)
            height, width = numbers.integers(40, 240, 2)
            pixels[top : top + height, left : left + width] = numbers.integers(0, 256, 3)
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        picture.save(folder / f"{index:05d}.jpg", quality=QUALITY)
    return folder


class Clock:
    """Seconds spent in named parts; of nested parts the inner one counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.inner = [0.0]

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, which then adds its time to a part."""

        def call(*args: Any, **more: Any) -> Any:
            with self.part(name):
                return function(*args, **more)

        return call

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time within to a part."""
        self.inner.append(0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent - self.inner.pop()
            self.inner[-1] += spent


def measure(ckpt: str, source: Path, words: list[str]) -> dict[str, Any]:
    """Predict, and return the number of photos, the seconds of each part and the peaks of memory in MiB."""
    from lab import predict
    from lab.data.images import files
    from lab.tasks.detection import predict as writer
    from lab.tasks.detection.data.transforms import DetectionTransform
    from lab.tasks.detection.task import DetectionTask
    from lab.training.predictor import ImagePredictor

    clock, held = Clock(), []
    run = ImagePredictor.run

    def whole(self: Any, *args: Any) -> None:
        held.append(peak())
        held.append(len(self.paths))
        with clock.part("all else"):
            run(self, *args)

    parts: tuple[tuple[Any, str, str], ...] = (
        (files, "read_image", "decoding"),
        (DetectionTransform, "__call__", "resizing"),
        (DetectionTask, "forward", "network"),
        (DetectionTask, "predict_step", "boxes and suppression"),
        (writer, "read_image", "decoding again, to draw on it"),
        (writer, "draw_detections", "drawing"),
        (writer, "save_picture", "writing pictures"),
    )
    with ExitStack() as stack:
        for owner, name, part in parts:
            stack.enter_context(patch.object(owner, name, clock.timed(part, getattr(owner, name))))
        stack.enter_context(patch.object(ImagePredictor, "run", whole))
        folder = predict(ckpt, source, "data.num_workers=0", *words)
    before, count = held
    return {"photos": count, "seconds": clock.seconds, "before": before, "after": peak(), "folder": folder}


def peak() -> float:
    """Return the most memory that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))


def report(found: dict[str, Any]) -> None:
    """Print images per second and the share of each part."""
    seconds, count = found["seconds"], found["photos"]
    total = sum(seconds.values())
    print(f"{count} photos in {total:.2f} s: {count / total:.1f} images/s; results in {found['folder']}")
    print(f"peak memory {found['before']:.0f} MiB before, {found['after']:.0f} MiB after")
    print("| part | ms of an image | share |")
    print("|---|---|---|")
    for name, value in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"| {name} | {1000 * value / count:.2f} | {value / total:.0%} |")


if __name__ == "__main__":
    sys.exit(main())
