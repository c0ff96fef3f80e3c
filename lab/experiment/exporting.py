"""What ``scripts/export.py`` exports: a trained task's network, or the one that words name, and images to try it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.data.images.files import find_images
from lab.data.images.opening import ImageFileError, read_image
from lab.errors import DataError, ExportError
from lab.experiment.assembly import build_data, build_task, give_plan, load_plan, load_task, prepare
from lab.export.description import ExportDescription, ResizeRule
from lab.export.network import OUTPUTS, ColorStatistics
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.registry.build import build
from lab.registry.create import load_weights
from lab.structures.classification import ClassificationSpec
from lab.structures.detection import DetectionSpec, Suppressing
from lab.system.ranks import Place

SIDE = 224
"""Pixels of the images of a network that nothing else is known of."""


@dataclass(frozen=True)
class ExportSubject:
    """A network to export.

    Attributes:
        net: the network with its weights.
        statistics: mean and standard deviation that its images lose.
        description: of it, without what the format adds.
        images: (n, 3, h, w) float32 from 0 to 1, of its data; None where none is at hand.
    """

    net: nn.Module
    statistics: ColorStatistics
    description: ExportDescription
    images: Tensor | None = None


def task_subject(task: Any, source: str, images: Tensor | None = None) -> ExportSubject:
    """Return the network of a task, with what the task knows of images and classes.

    Args:
        task: a ``Task`` for classification or detection.
        source: where it is from.
        images: of its data.

    Raises:
        ExportError: it is for another kind of problem.
    """
    spec = task.spec
    require_exported(task.kind)
    name = task.hparams["net"]["_target_"]
    thresholds: Mapping[str, float]
    if isinstance(spec, ClassificationSpec):
        statistics: ColorStatistics = (spec.mean, spec.std)
        thresholds = {"threshold": task.threshold} if spec.multilabel else {}
        how = ResizeRule("crop" if spec.resize else "stretch", spec.resize, 0, spec.interpolation)
    else:
        assert isinstance(spec, DetectionSpec)
        statistics, thresholds = _of_detector(task.net)
        how = (
            ResizeRule("shorter side", spec.resize[0], spec.resize[1])
            if _is_open(spec.input_shape) and spec.resize
            else ResizeRule()
        )
    size = spec.input_shape[1:] if not _is_open(spec.input_shape) else _open_size(how)
    described = ExportDescription(name, task.kind, spec.class_names, (size[0], size[1]), how, thresholds, source)
    return ExportSubject(task.net, statistics, described, images)


def words_subject(config: dict[str, Any], with_data: bool, source: str) -> ExportSubject:
    """Return the network that a config names, with its weights if the config names some.

    Args:
        config: the resolved config.
        with_data: the data decides the number of classes, as in a training; otherwise the network's own default does.
        source: the words.

    Raises:
        LabError: the network, its weights or the data cannot be used.
    """
    require_exported(config["model"]["task"])
    prepare(config)
    weights = config["ckpt"] or config["model"]["pretrained"]
    if with_data:
        data = build_data(config)
        give_plan(data, load_plan(config, Place()))
        task = load_task(config, data) if weights else build_task(config, data, 1)
        return task_subject(task, source, data.first_batch().images / 255)
    target, task_name = config["model"]["net"]["_target_"], config["model"]["task"]
    net = build(config["model"]["net"], where="model.net")
    if weights:
        load_weights(net, target, weights, config["paths"]["weights_dir"])
    statistics, thresholds = _of_detector(net) if task_name == "detection" else ((IMAGENET_MEAN, IMAGENET_STD), {})
    side = config["model"].get("asks", {}).get("image_size") or getattr(net, "image_size", SIDE)
    height, width = (side, side) if isinstance(side, int) else side
    return ExportSubject(net, statistics, ExportDescription(target, task_name, (), (height, width), ResizeRule(), thresholds, source))


def require_exported(task: str) -> None:
    """Refuse kinds of problem that are not exported.

    Raises:
        ExportError: it is one of those.
    """
    if task not in OUTPUTS:
        raise ExportError(
            f"a network for {task} is not exported, because it does not take images alone or gives neither classes nor "
            f"boxes; networks for {' and '.join(OUTPUTS)} are"
        )


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


def _read(path: Any, size: tuple[int, int]) -> Tensor:
    from torchvision.transforms.v2.functional import pil_to_tensor

    try:
        image = pil_to_tensor(read_image(path))
    except ImageFileError as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from None
    return _stretched(image[None] / 255, size)


def _stretched(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size=size, mode="bilinear", antialias=True).clamp(0, 1)


def _of_detector(net: nn.Module) -> tuple[ColorStatistics, Mapping[str, float]]:
    statistics: ColorStatistics = getattr(net, "image_statistics", (IMAGENET_MEAN, IMAGENET_STD))
    return statistics, net.thresholds if isinstance(net, Suppressing) else {}


def _is_open(shape: Sequence[int]) -> bool:
    return len(shape) != 3 or not (shape[1] and shape[2])


def _open_size(how: ResizeRule) -> tuple[int, int]:
    """Return an example of a size, in landscape, of images whose size is open."""
    short = how.shorter_side or SIDE
    long = short * 4 // 3
    return short, min(long, how.longest) if how.longest else long
