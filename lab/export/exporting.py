"""Writes a network for another engine, runs it there at once, and keeps the file only if it computes the same."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.errors import ExportError
from lab.export.capture import first_line
from lab.export.comparison import TOLERANCE, OutputDifference, compare
from lab.export.description import ExportDescription
from lab.export.formats import EngineRunner, ExportFormat, ExportOrder, make_format
from lab.system.files import remove, write_text

ROUNDS = 5
MORE = (64, 32)
"""Pixels that the second size has more, down and across: a multiple of any network's stride."""


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the file; beside it stands its description, with ``.json`` added to its name.
        description: of the file.
        num_bytes: of the file.
        seconds: that writing took.
        difference: the largest differences from the network, over all images.
        compared: the shapes (B, 3, H, W) of the images that were compared.
        milliseconds: of processor time for an image, of ``torch`` and of the engine, on as many threads as torch has.
        batch: images of a call of which that was measured.
    """

    path: Path
    description: ExportDescription
    num_bytes: int
    seconds: float
    difference: OutputDifference
    compared: tuple[tuple[int, ...], ...]
    milliseconds: Mapping[str, float]
    batch: int


def export(order: ExportOrder, name: str, path: Path, tolerance: float = TOLERANCE) -> ExportReport:
    """Write a network in a format, and compare the file with it.

    Dimensions of the input that the engine does not run with other sizes are fixed, and the description says so.

    Args:
        order: the network and its images.
        name: of the format.
        path: the file to write or to replace; its folder exists.
        tolerance: see ``lab.export.comparison``.

    Raises:
        ExportError: it cannot be written, or computes something else; nothing is written then.
    """
    made = make_format(name)
    refused: dict[str, str] = {}
    fresh = path.with_name(f".part-{path.name}")
    try:
        while True:
            start = time.perf_counter()
            description = made.write(order, fresh)
            seconds = time.perf_counter() - start
            runner = made.load(fresh)
            failed, found, compared = _compared(order, runner, description, tolerance)
            if not failed:
                break
            refused |= failed
            order = replace(order, dynamic=tuple(axis for axis in order.dynamic if axis not in failed))
        if refused:
            description = replace(description, fixed={**description.fixed, **refused})
        times, batch = _times(order, runner, description, made)
        size = sum(each.stat().st_size for each in _files(fresh))
        _publish(fresh, path)
    finally:
        remove(fresh)
    write_text(path.with_name(f"{path.name}.json"), description.to_json())
    return ExportReport(path, description, size, seconds, found, compared, times, batch)


def _compared(
    order: ExportOrder, runner: EngineRunner, description: ExportDescription, tolerance: float
) -> tuple[dict[str, str], OutputDifference, tuple[tuple[int, ...], ...]]:
    """Compare on the images, then on other sizes of what is open.

    Returns:
        Of open dimensions that the engine fails with the reason, the differences, the shapes of the images.

    Raises:
        ExportError: the outputs differ.
    """
    shapes = [tuple(order.images.shape)]
    found = _difference(order, runner, order.images, tolerance)
    for axes, images in _others(order.images, description.dynamic):
        try:
            outputs = runner(images)
        except Exception as error:  # engines raise errors of their own classes
            reason = f"the engine fails with images {tuple(images.shape)}: {first_line(error)}"
            return dict.fromkeys(axes, reason), found, tuple(shapes)
        shapes.append(tuple(images.shape))
        found = found.joined(_judged(order, outputs, images, tolerance))
    return {}, found, tuple(shapes)


def _difference(order: ExportOrder, runner: EngineRunner, images: Tensor, tolerance: float) -> OutputDifference:
    try:
        outputs = runner(images)
    except Exception as error:  # engines raise errors of their own classes
        raise ExportError(f"the written file does not run: {first_line(error)}") from error
    return _judged(order, outputs, images, tolerance)


def _judged(order: ExportOrder, outputs: Sequence[Tensor], images: Tensor, tolerance: float) -> OutputDifference:
    with torch.no_grad():
        wanted = order.net(images)
    found = compare(order.net.output_names, outputs, wanted, max(images.shape[-2:]), tolerance)
    if not found.largest <= tolerance:
        said = ", ".join(f"{name} {value:.1e}" for name, value in found.worst.items())
        raise ExportError(
            f"the written file computes something else for images {tuple(images.shape)}: {said}; at most "
            f"{tolerance:.0e} is rounding. It was removed"
        )
    return found


def _others(images: Tensor, dynamic: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield images of another number and of another size, with the dimensions that these show to be open."""
    if "batch" in dynamic:
        yield ("batch",), images[:1]
        yield ("batch",), torch.cat((images, images[:1].flip(-1)))
    sides = tuple(axis for axis in ("height", "width") if axis in dynamic)
    if sides:
        height, width = images.shape[-2:]
        more = [extra if axis in sides else 0 for axis, extra in zip(("height", "width"), MORE, strict=True)]
        yield sides, F.interpolate(images, size=(height + more[0], width + more[1]), mode="bilinear")


def _times(
    order: ExportOrder, runner: EngineRunner, description: ExportDescription, made: ExportFormat
) -> tuple[dict[str, float], int]:
    """Return the median milliseconds for an image of torch and the engine, interleaved, and the images of a call."""
    images = order.images[:1] if "batch" in description.dynamic else order.images

    def by_torch(images: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            outputs: Sequence[Tensor] = order.net(images)
        return outputs

    calls: dict[str, Callable[[Tensor], Sequence[Tensor]]] = {"torch": by_torch, made.engine: runner}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 1):
        for name, call in calls.items():
            start = time.process_time()
            call(images)
            if turn:  # the first one warms up
                taken[name].append(1e3 * (time.process_time() - start) / len(images))
    return {name: statistics.median(values) for name, values in taken.items()}, len(images)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]


def _publish(fresh: Path, path: Path) -> None:
    """Put what was written in its place."""
    if fresh.is_dir():
        remove(path)
    fresh.replace(path)
