"""Image files as classification samples, for ``stage=predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image

from lab.data.images.files import ImageFiles
from lab.structures.classification import ClassificationSample
from lab.tasks.classification.data.transforms import EvalTransform


class ClassificationFolder(ImageFiles):
    """Image files as classification samples without a label.

    Args:
        paths: the files, or images in RGB that have been read already.
        transform: as in evaluation.
    """

    def __init__(self, paths: Sequence[Path | Image], transform: EvalTransform) -> None:
        super().__init__(paths)
        self.transform = transform

    def __getitem__(self, key: tuple[int, int]) -> ClassificationSample:
        """Return the image at ``(epoch, index)``."""
        image, image_id = self.read(key[1])
        return ClassificationSample(self.transform(image), -1, image_id, (image.height, image.width))
