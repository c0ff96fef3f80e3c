"""Fingerprints of datasets on disk. They tell whether a dataset has changed since a run was trained on it.

Only the standard library is used, so that the parent process can compare fingerprints before torch is imported. The
contents of annotation files and images are hashed; in large folders only the first and last bytes of each image, since
hashing all of COCO's images would take minutes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from lab.data.caches import contents
from lab.data.folders import list_files
from lab.errors import DataError

COCO_HOW_TO_GET = (
    "get train2017.zip, val2017.zip and annotations_trainval2017.zip from https://cocodataset.org/#download, unpack "
    "them in that folder, or name another by data.root, data.train.annotations and data.train.images"
)
PANOPTIC_HOW_TO_GET = (
    "get train2017.zip, val2017.zip and panoptic_annotations_trainval2017.zip from https://cocodataset.org/#download, "
    "unpack them and the zips of label maps inside, or name the places by data.root, data.train.annotations, "
    "data.train.labels and data.train.images"
)
VOC_HOW_TO_GET = (
    "get VOCtrainval and VOCtest from http://host.robots.ox.ac.uk/pascal/VOC/ and unpack them, or name a folder with "
    "images and their XML files by data.root; data.images and data.annotations name folders in it"
)


def coco_fingerprint(root: str | Path, annotations: str, images: str) -> str:
    """Return a hash of one COCO annotation file and of the names and contents of the images in its folder.

    Args:
        root: the dataset's folder.
        annotations: the json file, relative to ``root``.
        images: the folder of images, relative to ``root``.

    Raises:
        DataError: the file or the folder does not exist.
    """
    digest = hashlib.sha256(b"coco-2")
    annotation_file = require_file(Path(root) / annotations, root, COCO_HOW_TO_GET)
    image_folder = require_folder(Path(root) / images, root, COCO_HOW_TO_GET)
    add_file(digest, annotation_file)
    add_images(digest, image_folder)
    return digest.hexdigest()


def folder_fingerprint(root: str | Path, images: str, labels: str, names: str | None, how_to_get: str) -> str:
    """Return a hash of the names and contents of images and label maps, and of the list of the split.

    Args:
        root: the dataset's folder.
        images: the folder of images, relative to ``root``.
        labels: the folder of label maps, relative to ``root``.
        names: the list, relative to ``root``, or None.
        how_to_get: how to get the data, for the message when something is missing.

    Raises:
        DataError: a folder or the list does not exist.
    """
    digest = hashlib.sha256(b"segfolder-2")
    for part in (images, labels):
        add_images(digest, require_folder(Path(root) / part, root, how_to_get))
        digest.update(b"\n")
    if names is not None:
        add_file(digest, require_file(Path(root) / names, root, how_to_get))
    return digest.hexdigest()


def panoptic_fingerprint(root: str | Path, annotations: str, labels: str, images: str) -> str:
    """Return a hash of a panoptic json file, and of the names and contents of its label maps and images.

    Raises:
        DataError: the file or a folder does not exist.
    """
    digest = hashlib.sha256(b"panoptic-2")
    add_file(digest, require_file(Path(root) / annotations, root, PANOPTIC_HOW_TO_GET))
    digest.update(folder_fingerprint(root, images, labels, None, PANOPTIC_HOW_TO_GET).encode())
    return digest.hexdigest()


def image_names(folder: Path) -> list[str]:
    """Return the names of all images below a folder, relative to it, with forward slashes, sorted."""
    return [name for name, _ in list_files(folder)]


def require_file(path: Path, root: str | Path, how_to_get: str) -> Path:
    """Return ``path`` if the file exists; otherwise raise a ``DataError`` that says how to get it."""
    if not path.is_file():
        raise DataError(_missing(path, root, "file", how_to_get))
    return path


def require_folder(path: Path, root: str | Path, how_to_get: str) -> Path:
    """Return ``path`` if the folder exists; otherwise raise a ``DataError`` that says how to get it."""
    if not path.is_dir():
        raise DataError(_missing(path, root, "folder", how_to_get))
    return path


def _missing(path: Path, root: str | Path, kind: str, how_to_get: str) -> str:
    state = "" if Path(root).is_dir() else ", which does not exist"
    return f"no {kind} {path}: looked in data.root={Path(root)}{state}; {how_to_get}"


def add_images(digest: hashlib._Hash, folder: Path) -> None:
    """Add the names, sizes and contents of all images below a folder to a hash."""
    files = list(list_files(folder))
    for (name, size), content in zip(files, contents(folder, files), strict=True):
        digest.update(f"{name}\0{size}\0{content}\n".encode("utf-8", "surrogateescape"))


def add_file(digest: hashlib._Hash, path: Path) -> None:
    """Add the content of a file to a hash."""
    with path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
