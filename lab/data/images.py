"""Plain image files, without annotations, for ``stage=predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from lab.data.folders import IMAGE_SUFFIXES, list_files
from lab.data.image_files import ImageFileError, read_image
from lab.data.segmentation_transforms import SegmentationTransform
from lab.data.transforms import DetectionTransform, sample_generator
from lab.errors import DataError
from lab.structures import NO_SEGMENT, DetectionSample, SegmentationSample


def find_images(source: str | Path) -> list[Path]:
    """Return the image file itself, or all images of a folder and its subfolders, sorted; hidden ones are left out.

    Raises:
        DataError: there is none.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    found = sorted(path / name for name, _ in list_files(path)) if path.is_dir() else []
    if not found:
        raise DataError(f"input={path}: no image is there; images end with {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found


class ImageFiles:
    """Image files, read by key; a subclass makes samples of them. ``image_id`` counts them.

    A file that cannot be read becomes a small black image whose ``image_id`` is ``unreadable(index)``: one bad file
    does not stop a folder of thousands, and what was found in its place can be told from the rest. Images are upright,
    as their EXIF orientation says.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    @property
    def aspect_ratios(self) -> None:
        """None: prediction goes through the files in order."""
        return

    def read(self, index: int) -> tuple[Image.Image, int]:
        """Return the image at ``index`` and its ``image_id``."""
        try:
            return read_image(self.paths[index]), index
        except ImageFileError:  # the predictor says why, once for each file
            return Image.new("RGB", (32, 32)), unreadable(index)


class ImageFolder(ImageFiles):
    """Image files as detection samples without boxes.

    Args:
        paths: the files.
        transform: as in evaluation.
    """

    def __init__(self, paths: Sequence[Path], transform: DetectionTransform) -> None:
        super().__init__(paths)
        self.transform = transform

    def __getitem__(self, key: tuple[int, int]) -> DetectionSample:
        """Return the image at ``(epoch, index)``."""
        image, image_id = self.read(key[1])
        nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
        transformed = self.transform(image, *nothing, sample_generator(0, 0, key[1]))
        return DetectionSample(transformed.image, *nothing, image_id, original_size=(image.height, image.width))


class SegmentationFolder(ImageFiles):
    """Image files as segmentation samples without segments.

    Args:
        paths: the files.
        transform: as in evaluation.
    """

    def __init__(self, paths: Sequence[Path], transform: SegmentationTransform) -> None:
        super().__init__(paths)
        self.transform = transform

    def __getitem__(self, key: tuple[int, int]) -> SegmentationSample:
        """Return the image at ``(epoch, index)``."""
        image, image_id = self.read(key[1])
        size = (image.height, image.width)
        nothing = torch.full(size, NO_SEGMENT, dtype=torch.int16), torch.zeros(0, dtype=torch.long)
        transformed = self.transform(image, *nothing, sample_generator(0, 0, key[1]))
        return SegmentationSample(*transformed, image_id, original_size=size)


def unreadable(number: int) -> int:
    """Return the ``image_id`` of a file that cannot be read, below 0; and from that again the file's number."""
    return -1 - number
