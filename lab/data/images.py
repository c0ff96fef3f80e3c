"""Plain image files, without annotations, for ``stage=predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError

from lab.data.transforms import DetectionTransform, sample_generator
from lab.errors import DataError
from lab.structures import DetectionSample

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"})


def find_images(source: str | Path) -> list[Path]:
    """Return the image file itself, or all images of a folder and its subfolders, sorted.

    Raises:
        DataError: there is none.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else []
    if not found:
        raise DataError(f"input={path}: no image is there; images end with {', '.join(sorted(SUFFIXES))}")
    return found


class ImageFolder:
    """Image files as detection samples without boxes; ``image_id`` counts them.

    Args:
        paths: the files.
        transform: as in evaluation.
    """

    def __init__(self, paths: Sequence[Path], transform: DetectionTransform) -> None:
        self.paths, self.transform = list(paths), transform

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    @property
    def aspect_ratios(self) -> None:
        """None: prediction goes through the files in order."""
        return

    def __getitem__(self, key: tuple[int, int]) -> DetectionSample:
        """Return the image at ``(epoch, index)``.

        Raises:
            DataError: the file is no image, or a damaged one.
        """
        index = key[1]
        path = self.paths[index]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"{path} cannot be read as an image ({error}); remove it from input=") from error
        nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
        transformed = self.transform(image, *nothing, sample_generator(0, 0, index))
        return DetectionSample(transformed.image, *nothing, image_id=index, original_size=(image.height, image.width))
