"""Fingerprints of datasets on disk: has what a run was trained on changed since?

Only the standard library is used, so that the parent process can compare a fingerprint before torch is imported. The
content of annotation files is hashed, and that of images, of large folders their first and last bytes: hashing all of
COCO's pixels would take minutes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from lab.data.caches import contents
from lab.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
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
    "Annotations, JPEGImages and ImageSets/Main by data.root"
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
    _add_file(digest, annotation_file)
    add_images(digest, image_folder)
    return digest.hexdigest()


def voc_fingerprint(root: str | Path, split: str) -> str:
    """Return a hash of one Pascal-VOC split: its list, its XML files, and the names and contents of all images.

    Args:
        root: the folder that holds ``ImageSets/Main``, ``Annotations`` and ``JPEGImages``.
        split: the name of a list in ``ImageSets/Main``, without its suffix.

    Raises:
        DataError: the list or a folder does not exist.
    """
    root = Path(root)
    digest = hashlib.sha256(b"voc-2")
    split_file = require_file(root / "ImageSets" / "Main" / f"{split}.txt", root, VOC_HOW_TO_GET)
    annotation_folder = require_folder(root / "Annotations", root, VOC_HOW_TO_GET)
    image_folder = require_folder(root / "JPEGImages", root, VOC_HOW_TO_GET)
    _add_file(digest, split_file)
    for stem in read_split(split_file):
        path = annotation_folder / f"{stem}.xml"
        digest.update(f"{stem}\0".encode())
        if path.is_file():  # a missing one is the dataset's bad sample, and part of what it is
            _add_file(digest, path)
    add_images(digest, image_folder)
    return digest.hexdigest()


def folder_fingerprint(root: str | Path, images: str, labels: str, names: str | None, how_to_get: str) -> str:
    """Return a hash of the names and contents of images and label maps, and of the list that chooses among them.

    Args:
        root: the dataset's folder.
        images: the folder of images, relative to ``root``.
        labels: the folder of label maps, relative to ``root``.
        names: the list, relative to ``root``, or None.
        how_to_get: for the message about what is missing.

    Raises:
        DataError: a folder or the list does not exist.
    """
    digest = hashlib.sha256(b"segfolder-2")
    for part in (images, labels):
        add_images(digest, require_folder(Path(root) / part, root, how_to_get))
        digest.update(b"\n")
    if names is not None:
        _add_file(digest, require_file(Path(root) / names, root, how_to_get))
    return digest.hexdigest()


def panoptic_fingerprint(root: str | Path, annotations: str, labels: str, images: str) -> str:
    """Return a hash of a panoptic json, and of the names and contents of its label maps and of the images.

    Raises:
        DataError: the file or a folder does not exist.
    """
    digest = hashlib.sha256(b"panoptic-2")
    _add_file(digest, require_file(Path(root) / annotations, root, PANOPTIC_HOW_TO_GET))
    digest.update(folder_fingerprint(root, images, labels, None, PANOPTIC_HOW_TO_GET).encode())
    return digest.hexdigest()


def image_names(folder: Path) -> list[str]:
    """Return the names of all images below a folder, relative to it, with forward slashes, sorted."""
    return [Path(name).as_posix() for name, _ in _image_sizes(folder)]


def read_split(path: Path) -> list[str]:
    """Return the image names in a list of ``ImageSets/Main``; further columns of a line are not read."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def require_file(path: Path, root: str | Path, how_to_get: str) -> Path:
    """Return ``path``, or say what is missing and how to get it."""
    if not path.is_file():
        raise DataError(_missing(path, root, "file", how_to_get))
    return path


def require_folder(path: Path, root: str | Path, how_to_get: str) -> Path:
    """Return ``path``, or say what is missing and how to get it."""
    if not path.is_dir():
        raise DataError(_missing(path, root, "folder", how_to_get))
    return path


def _missing(path: Path, root: str | Path, kind: str, how_to_get: str) -> str:
    state = "" if Path(root).is_dir() else ", which does not exist"
    return f"no {kind} {path}: looked in data.root={Path(root)}{state}; {how_to_get}"


def _add_file(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())


def add_images(digest: hashlib._Hash, folder: Path) -> None:
    """Add the names, sizes and contents of all images below a folder to a hash."""
    files = list(_image_sizes(folder))
    for (name, size), content in zip(files, contents(folder, files), strict=True):
        digest.update(f"{name}\0{size}\0{content}\n".encode("utf-8", "surrogateescape"))


def _image_sizes(folder: Path) -> Iterable[tuple[str, int]]:
    """Yield (relative name, bytes) of each image below ``folder``, sorted by name."""
    pending, found = [str(folder)], []
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    pending.append(entry.path)
                elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - 5x faster than Path
                    found.append((os.path.relpath(entry.path, folder), entry.stat().st_size))
    return sorted(found)
