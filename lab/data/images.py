"""Plain image files, without annotations, for ``stage=predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

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

    A file that cannot be read becomes a small black image whose ``image_id`` is ``unreadable(index)``: one bad file
    does not stop a folder of thousands, and what was found in its place can be told from the rest.

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
        """Return the image at ``(epoch, index)``."""
        index = key[1]
        try:
            with Image.open(self.paths[index]) as file:
                image, image_id = file.convert("RGB"), index
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for a bad file
            image, image_id = Image.new("RGB", (32, 32)), unreadable(index)
        nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
        transformed = self.transform(image, *nothing, sample_generator(0, 0, index))
        return DetectionSample(transformed.image, *nothing, image_id, original_size=(image.height, image.width))


def unreadable(number: int) -> int:
    """Return the ``image_id`` of a file that cannot be read, below 0; and from that again the file's number."""
    return -1 - number
