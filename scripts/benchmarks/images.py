"""How fast images are read: alone, with labels against torchvision's ImageFolder, with boxes against DETR's transforms.

Pillow decodes for every peer. The first loader has its usual transforms, the second those of DETR's authors, written
with torchvision. Both read the same generated JPEGs in this process as lab, crop, resize and stack (with boxes: pad)
them. lab's flip of labelled images, and the mean and deviation of images with boxes, are the device's business later.
"""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import RandomCrop
from torchvision.transforms import functional as F
from torchvision.transforms import v2 as T

from lab.data.datamodule import DataModule
from lab.data.images.dataset import Reading
from lab.data.images.padding import pad_images
from lab.data.images.pixels import as_pixels, read_pixels
from lab.data.images.resizing import resized_size
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD
from lab.tasks.classification.data.folder import ImageFolderModule
from lab.tasks.classification.data.small import SmallImagesModule
from lab.tasks.detection.data.coco import CocoDataset
from lab.tasks.detection.data.collate import collate_detection
from lab.tasks.detection.data.transforms import DETR_CROP_SCALES, DETR_SCALES, DetectionTransform

Size = tuple[int, int]
Folder = tempfile.TemporaryDirectory[str]
Made = tuple[Callable[[], Tensor], Callable[[], Tensor], float]
MEAN, DEVIATION = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))


def decoded_batch(batch: int, size: Size, device: torch.device) -> Made:
    """Photos of (height, width), opened, checked and decoded; Pillow only opens and decodes."""
    place = photos(batch, size)
    paths = sorted(Path(place.name).rglob("*.jpg"))

    def ours(place: Folder = place) -> list[Tensor]:
        return [read_pixels(path) for path in paths]

    def theirs() -> list[Tensor]:
        return [as_pixels(_opened(path)) for path in paths]

    gaps = [int((one.int() - other.int()).abs().max()) for one, other in zip(ours(), theirs(), strict=True)]
    return ours, theirs, max(gaps) / 255


def folder_batch(batch: int, size: Size, device: torch.device) -> Made:
    """Photos of (height, width), a random window of each resized to 224."""
    place = photos(batch, size)
    root = place.name
    files = {"images": "train"}
    data = ImageFolderModule(root, files, files, image_size=224, batch_size=batch, num_workers=0)
    peer = ImageFolder(
        Path(root, "train"), T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToImage()])
    )
    exact = ImageFolder(Path(root, "train"), T.Compose([T.Resize(256), T.CenterCrop(224), T.ToImage()]))
    return _pair(data, peer, exact, batch, place)


def small_batch(batch: int, size: Size, device: torch.device) -> Made:
    """Small images of (height, width), decoded once by lab; the peer shifts them by up to 4 pixels and flips."""
    place = photos(batch, size)
    root = place.name
    files = {"images": "train"}
    data = SmallImagesModule(root, files, files, batch_size=batch, val_share=None)
    moves = [T.RandomCrop(size, padding=4), T.RandomHorizontalFlip(), T.ToImage()]
    peer = ImageFolder(Path(root, "train"), T.Compose(moves))
    return _pair(data, peer, ImageFolder(Path(root, "train"), T.ToImage()), batch, place)


def boxes_batch(batch: int, size: Size, device: torch.device) -> Made:
    """Photos of (height, width) with boxes, augmented for DETR's training."""
    return _with_boxes(batch, size, True)


def boxes_test_batch(batch: int, size: Size, device: torch.device) -> Made:
    """Photos of (height, width) with boxes, resized as DETR evaluates."""
    return _with_boxes(batch, size, False)


def _with_boxes(batch: int, size: Size, train: bool) -> Made:
    place = photos(batch, size)
    root = Path(place.name)
    names = [str(path.relative_to(root)) for path in sorted(root.rglob("*.jpg"))]
    rows = [{"id": row, "file_name": name, "height": size[0], "width": size[1]} for row, name in enumerate(names)]
    noise = np.random.default_rng(0)
    boxes = [noise.uniform(2, min(size) / 2, 4).tolist() for _ in range(7 * batch)]
    marks = [
        {"id": number, "image_id": number % batch, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for number, box in enumerate(boxes)
    ]
    content = {"images": rows, "annotations": marks, "categories": [{"id": 1, "name": "thing"}]}
    (root / "boxes.json").write_text(json.dumps(content))
    data = CocoDataset(root, "boxes.json", ".", Reading(train, DetectionTransform(train)))
    corners = torch.tensor(boxes).view(7, batch, 4).transpose(0, 1).clone()
    corners[..., 2:] += corners[..., :2]
    epoch = itertools.count()

    def ours(place: Folder = place) -> Tensor:
        number = next(epoch)
        images: Tensor = collate_detection([data[number, row] for row in range(batch)]).images
        return images

    def theirs() -> Tensor:
        return pad_images([_authors(root / name, corners[row], train) for row, name in enumerate(names)])[0]

    still = CocoDataset(root, "boxes.json", ".", Reading(False, DetectionTransform(False)))
    gaps = [
        ((still[0, row].image / 255 - MEAN) / DEVIATION - _authors(root / names[row], corners[row], False)).abs().mean()
        for row in range(min(batch, 4))
    ]
    return ours, theirs, float(max(gaps))


def _authors(path: Path, boxes: Tensor, train: bool) -> Tensor:
    """Return an image as DETR's published loader does, normalised; its boxes are computed too."""
    image = _opened(path)
    if train and random.random() < 0.5:
        boxes = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([image.width, 0, image.width, 0])
        image = F.hflip(image)
    if train and random.random() < 0.5:
        image, boxes = _shorter(image, boxes, random.choice(DETR_CROP_SCALES), None)
        wide, tall = (random.randint(384, min(side, 600)) for side in image.size)
        top, left, tall, wide = RandomCrop.get_params(image, (tall, wide))
        image = F.crop(image, top, left, tall, wide)
        boxes = (boxes - torch.tensor([left, top, left, top])).clamp(min=0)
        boxes = torch.minimum(boxes, torch.tensor([wide, tall, wide, tall]))
    image, boxes = _shorter(image, boxes, random.choice(DETR_SCALES) if train else DETR_SCALES[-1], 1333)
    pixels: Tensor = F.normalize(F.to_tensor(image), MEAN.flatten().tolist(), DEVIATION.flatten().tolist())
    return pixels


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        return opened.convert("RGB")


def _shorter(image: Image.Image, boxes: Tensor, short: int, most: int | None) -> tuple[Image.Image, Tensor]:
    size = resized_size(image.height, image.width, short, most)
    ratios = torch.tensor([size[1] / image.width, size[0] / image.height])
    return F.resize(image, list(size)), boxes * ratios.repeat(2)


def _pair(data: DataModule, peer: ImageFolder, exact: ImageFolder, batch: int, place: Folder) -> Made:
    """Return both as steps, and the largest difference between pixels of evaluation, as a share of 255.

    ``place`` is removed with the first step.
    """
    train, test = data.dataset("train"), data.dataset("test")
    epoch = iter(range(1 << 30))

    def ours(place: Folder = place) -> Tensor:
        number = next(epoch)
        images: Tensor = data.collate([train[number, index] for index in range(batch)]).images
        return images

    def theirs() -> Tensor:
        return torch.stack([peer[index][0] for index in range(batch)])

    gaps = [int((test[0, row].image.int() - exact[row][0].int()).abs().max()) for row in range(min(batch, 8))]
    return ours, theirs, max(gaps) / 255


def photos(count: int, size: Size) -> Folder:
    """Write JPEGs of (height, width) in two classes; return the folder above ``train``."""
    folder = tempfile.TemporaryDirectory(prefix="lab-images-")
    root = Path(folder.name)
    noise = np.random.default_rng(0)
    for number in range(count):
        place = root / "train" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        coarse = noise.integers(0, 256, (max(2, size[0] // 8), max(2, size[1] // 8), 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
        image.save(place / f"{number:05}.jpg", quality=90)
    return folder
