"""Plain image files, without annotations, for ``stage=predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from lab.data.folders import IMAGE_SUFFIXES, list_files, unreadable
from lab.data.images.opening import ImageFileError, read_image
from lab.errors import DataError


def find_images(source: str | Path) -> list[Path]:
    """Return the image file itself, or all images of a folder and its subfolders, sorted, without hidden ones.

    Raises:
        DataError: there is no image.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    found = sorted(path / name for name, _ in list_files(path)) if path.is_dir() else []
    if not found:
        raise DataError(f"input={path}: no image is there; images end with {', '.join(sorted(IMAGE_SUFFIXES))}")
    return found


class ImageFiles:
    """Image files, read by key; a subclass makes samples of them. ``image_id`` is the index of the file.

    A file that cannot be read becomes a small black image with the ``image_id`` ``unreadable(index)``. So one bad file
    does not stop a folder of thousands, and its predictions can be recognised. Images are turned upright as their EXIF
    orientation says.

    Args:
        paths: the files, or RGB images that have been read already.
    """

    def __init__(self, paths: Sequence[Path | Image.Image]) -> None:
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
        path = self.paths[index]
        if isinstance(path, Image.Image):
            return path, index
        try:
            return read_image(path), index
        except ImageFileError:  # the predictor says why, once for each file
            return Image.new("RGB", (32, 32)), unreadable(index)
