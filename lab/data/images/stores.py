"""Where the images of a dataset lie: a folder, or a zip that is read in place."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lab.data.folders import is_hidden
from lab.data.images.annotations import find_image
from lab.data.images.fingerprint import add_images, image_names, require_folder
from lab.data.images.store import ImageStore
from lab.data.images.zips import ZipStore
from lab.system.files import archive_in


class FolderStore(ImageStore):
    """The images below a folder.

    Args:
        place: the folder.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    def names(self) -> list[str]:
        """Return the names of all images, sorted; hidden ones are left out."""
        return image_names(self.place)

    def folders(self) -> list[str]:
        """Return the names of the folders at the top, sorted, those without an image as well."""
        return sorted(entry.name for entry in self.place.iterdir() if entry.is_dir() and not is_hidden(entry.name))

    def add_to(self, digest: hashlib._Hash) -> None:
        """Add the names, sizes and contents of the images to a hash."""
        add_images(digest, self.place)

    def source(self, name: str) -> Path:
        """Return the file of an image."""
        return self.place / name

    def look(self, name: str) -> tuple[str, tuple[int, int], str]:
        """Return an image's name as it is stored, its (height, width), and why it cannot be read or ``""``."""
        found = find_image(self.place, name)
        return found.name, found.size, found.problem


def open_store(place: Path, root: str | Path, how_to_get: str) -> ImageStore:
    """Return the images of a folder, of a zip, or of a folder in a zip (``flowers.zip/train``).

    Args:
        place: the folder or archive.
        root: the dataset's folder, for the message.
        how_to_get: how to get the data, for the message.

    Raises:
        DataError: it does not exist, or the archive cannot be read.
    """
    archive = archive_in(place)
    if archive is not None:
        return ZipStore(*archive)
    return FolderStore(require_folder(place, root, how_to_get))
