"""Image files as segmentation samples, for ``stage=predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL.Image import Image

from lab.data.images.files import ImageFiles
from lab.data.images.resizing import sample_generator
from lab.structures import NO_SEGMENT, SegmentationSample
from lab.tasks.segmentation.data.transforms import SegmentationTransform


class SegmentationFolder(ImageFiles):
    """Image files as segmentation samples without segments.

    Args:
        paths: the files, or RGB images that have been read already.
        transform: the transform of evaluation.
    """

    def __init__(self, paths: Sequence[Path | Image], transform: SegmentationTransform) -> None:
        super().__init__(paths)
        self.transform = transform

    def __getitem__(self, key: tuple[int, int]) -> SegmentationSample:
        """Return the image at ``(epoch, index)``."""
        image, image_id = self.read(key[1])
        size = (image.height, image.width)
        nothing = torch.full(size, NO_SEGMENT, dtype=torch.int16), torch.zeros(0, dtype=torch.long)
        transformed = self.transform(image, *nothing, sample_generator(0, 0, key[1]))
        return SegmentationSample(*transformed, image_id, original_size=size)
