"""How fast a training batch of labelled images is read, against torchvision's ImageFolder with its usual transforms.

Both read the same generated JPEGs in this process, crop, resize and stack them; lab's flip is done on the device later.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2 as T

from lab.data.datamodule import DataModule
from lab.tasks.classification.data.folder import ImageFolderModule
from lab.tasks.classification.data.small import SmallImagesModule

Size = tuple[int, int]
Folder = tempfile.TemporaryDirectory[str]
Made = tuple[Callable[[], Tensor], Callable[[], Tensor], float]


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
