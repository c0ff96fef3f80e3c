"""What ``scripts/export.py`` exports: a trained task's network, or the one that words name, and images to try it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.data.images.files import find_images
from lab.data.images.opening import ImageFileError
from lab.data.images.pixels import read_pixels
from lab.errors import DataError
from lab.experiment.assembly import build_data, build_task, give_plan, load_plan, load_task, prepare
from lab.export.description import ExportDescription
from lab.export.network import Inputs, KindOfExport
from lab.registry.build import build
from lab.registry.create import load_weights
from lab.system.ranks import Place
from lab.training.spec import task_spec


@dataclass(frozen=True)
class ExportSubject:
    """A network to export.

    Attributes:
        net: the network with its weights.
        kind: how networks of its kind of problem are exported.
        inputs: what it needs of its images.
        description: of it, without what the format adds.
        images: (n, 3, h, w) float32 from 0 to 1, of its data; None where none is at hand.
    """

    net: nn.Module
    kind: KindOfExport
    inputs: Inputs
    description: ExportDescription
    images: Tensor | None = None


def task_subject(task: Any, source: str, images: Tensor | None = None) -> ExportSubject:
    """Return the network of a task, with what the task knows of images and classes.

    Args:
        task: a ``Task``.
        source: where it is from.
        images: of its data.

    Raises:
        ExportError: networks for its kind of problem are not exported.
    """
    kind: KindOfExport = task_spec(task.kind).load_export()()
    name = task.hparams["net"]["_target_"]
    return _subject(task.net, kind, kind.inputs(task.net, task), (name, task.kind, task.class_names, source), images)


def words_subject(config: dict[str, Any], with_data: bool, source: str) -> ExportSubject:
    """Return the network that a config names, with its weights if the config names some.

    Args:
        config: the resolved config.
        with_data: the data decides the number of classes, as in a training; otherwise the network's own default does.
        source: the words.

    Raises:
        LabError: the network, its weights or the data cannot be used.
    """
    name = config["model"]["task"]
    kind: KindOfExport = task_spec(name).load_export()()
    prepare(config)
    weights, node = config["ckpt"] or config["model"]["pretrained"], config["model"]["net"]
    if with_data:
        data = build_data(config)
        give_plan(data, load_plan(config, Place()))
        task = load_task(config, data) if weights else build_task(config, data, 1)
        return task_subject(task, source, data.first_batch().images / 255)
    net = build(node, where="model.net")
    if weights:
        load_weights(net, node["_target_"], weights, config["paths"]["weights_dir"])
    return _subject(net, kind, kind.inputs(net), (node["_target_"], name, (), source), None)


def _subject(
    net: nn.Module,
    kind: KindOfExport,
    inputs: Inputs,
    named: tuple[str, str, tuple[str, ...], str],
    images: Tensor | None,
) -> ExportSubject:
    name, task, classes, source = named
    description = ExportDescription(
        name, task, kind.outputs, classes, inputs.size, inputs.resize, inputs.thresholds, source
    )
    return ExportSubject(net, kind, inputs, description, images)


def data_images(config: dict[str, Any]) -> Tensor:
    """Return the first images of the data that a config names, (n, 3, h, w) float32 from 0 to 1.

    Raises:
        LabError: the data cannot be read.
    """
    prepare(config)
    data = build_data(config)
    give_plan(data, load_plan(config, Place()))
    images: Tensor = data.first_batch().images
    return images / 255


def images_for(subject: ExportSubject, size: tuple[int, int], count: int, folder: str | None) -> tuple[Tensor, str]:
    """Return images to try a network on, and what they are.

    Args:
        subject: the network, with images of its data where there are some.
        size: (height, width) to which they are stretched.
        count: how many.
        folder: an image or a folder of images, which are taken instead.

    Returns:
        (count, 3, H, W) float32 from 0 to 1, RGB; repeated in mirrors where there are fewer.

    Raises:
        DataError: there is no image, or one cannot be read.
    """
    if folder is not None:
        found = images_in(folder, size, count)
        what = f"{len(found)} images of {folder}"
    elif subject.images is not None:
        found, what = _stretched(subject.images[:count], size), "images of its data"
    else:
        generator = torch.Generator().manual_seed(0)
        found, what = _stretched(torch.rand(count, 3, 12, 12, generator=generator), size), "generated images"
    while len(found) < count:
        found = torch.cat((found, found.flip(-1)))
    return found[:count].contiguous(), what


def images_in(folder: str, size: tuple[int, int], most: int | None = None) -> Tensor:
    """Return the images of a folder, (N, 3, H, W) float32 RGB from 0 to 1, stretched to a size.

    Args:
        folder: it, or an image.
        size: (height, width).
        most: of the images; None for all.

    Raises:
        DataError: there is no image, or one cannot be read.
    """
    return torch.cat([_read(path, size) for path in find_images(folder)[:most]])


def _read(path: Path, size: tuple[int, int]) -> Tensor:
    try:
        image = read_pixels(path)
    except ImageFileError as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from None
    return _stretched(image[None] / 255, size)


def _stretched(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size=size, mode="bilinear", antialias=True).clamp(0, 1)
