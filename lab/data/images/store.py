"""What a place of image files offers; the places are in ``stores`` and ``zips``. Names are relative, with slashes."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path

from lab.data.folders import as_utf8
from lab.data.images.opening import ImageFileError, ImageSource, read_image_header


class ImageStore(ABC):
    """Image files by name. It holds no open file when it is pickled or forked.

    Attributes:
        place: the folder or archive, for messages.
    """

    place: Path

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all images, sorted; hidden ones are left out."""

    @abstractmethod
    def folders(self) -> list[str]:
        """Return the names of the folders at the top, sorted, those without an image as well."""

    @abstractmethod
    def add_to(self, digest: hashlib._Hash) -> None:
        """Add the names and contents of the images to a hash."""

    @abstractmethod
    def source(self, name: str) -> ImageSource:
        """Return what ``read_image`` reads of an image.

        Raises:
            ImageFileError: it cannot be read.
        """

    def look(self, name: str) -> tuple[str, tuple[int, int], str]:
        """Return an image's name as it is stored, its (height, width), and why it cannot be read or ``""``."""
        try:
            header = read_image_header(self.source(name))
        except ImageFileError as error:
            return as_utf8(name), (0, 0), str(error)
        return as_utf8(name), header.size, header.problem
