"""Image files as detection samples, for ``stage=predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL.Image import Image

from lab.data.images.files import ImageFiles
from lab.data.images.resizing import sample_generator
from lab.structures import DetectionSample
from lab.tasks.detection.data.transforms import DetectionTransform


class ImageFolder(ImageFiles):
    """Image files as detection samples without boxes.

    Args:
        paths: the files, or RGB images that have been read already.
        transform: the transform of evaluation.
    """

    def __init__(self, paths: Sequence[Path | Image], transform: DetectionTransform) -> None:
        super().__init__(paths)
        self.transform = transform

    def __getitem__(self, key: tuple[int, int]) -> DetectionSample:
        """Return the image at ``(epoch, index)``."""
        image, image_id = self.read(key[1])
        nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
        transformed = self.transform(image, *nothing, sample_generator(0, 0, key[1]))
        return DetectionSample(transformed.image, *nothing, image_id, original_size=(image.height, image.width))
