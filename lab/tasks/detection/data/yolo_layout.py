"""Finds the images, label files and splits of a dataset with YOLO label files, in the layouts of several tools.

- The splits are those of ``data.yaml``: folders, lists of images, or several of these. Without it folders named
  ``train``, ``valid`` or ``val``, ``test`` anywhere in a path define them; with neither, shares are held out.
- Places are looked for relative to ``path`` of the description, to the description's own folder, and to the dataset's
  folder; an absolute path of another machine by its last parts.
- The label file of an image has the image's path with the last folder ``images`` replaced by ``labels``, and ``.txt``;
  or it lies beside the image.

Only the standard library and the description's YAML are used.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lab.data.caches import contents
from lab.data.fields import short
from lab.data.folders import IMAGE_SUFFIXES, as_utf8, list_files, stored_name
from lab.data.holdout import TEST, TRAIN, VAL, check_shares
from lab.data.images.fingerprint import add_file, require_folder
from lab.data.lists import read_names
from lab.errors import DataError
from lab.tasks.detection.data.held_out import SPLIT_FOLDERS, Shares, complete_splits
from lab.tasks.detection.data.yolo_description import NAMES_FILES, YOLO_HOW_TO_GET, Description, read_description
from lab.tasks.detection.data.yolo_labels import read_labels

LISTS = frozenset({".txt"})
MAX_SHOWN = 3
MAX_SHOWN_PLACE = 255


class Picture(NamedTuple):
    """An image and its label file, both relative to the dataset's folder.

    Attributes:
        image: the image.
        label: the label file; ``""`` if there is none.
    """

    image: str
    label: str


@dataclass(frozen=True)
class YoloLayout:
    """The files of a dataset.

    Attributes:
        root: the dataset's folder.
        description: what the ``data.yaml`` says.
        splits: the images of ``"train"``, ``"val"`` and ``"test"``.
        said: what the user should know of how they were found; ``""`` for nothing.
    """

    root: Path
    description: Description
    splits: Mapping[str, tuple[Picture, ...]]
    said: str = ""

    def fingerprint(self, split: str, names: Sequence[str]) -> str:
        """Return a hash of a split: the names of the classes, its label files, the names and contents of its images."""
        digest = hashlib.sha256(b"yolo-1")
        digest.update(f"{list(names)}\0{self.description.keypoints}\0".encode("utf-8", "surrogateescape"))
        pictures = self.splits[split]
        files = [(picture.image, _bytes(self.root / picture.image)) for picture in pictures]
        for picture, (name, size), content in zip(pictures, files, contents(self.root, files), strict=True):
            line = f"{name}\0{size}\0{content}\0{picture.label}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
            if picture.label and (self.root / picture.label).is_file():
                add_file(digest, self.root / picture.label)
        return digest.hexdigest()


def find_yolo(
    root: str | Path, file: str | None = None, labels: str | None = None, shares: Shares | None = None
) -> YoloLayout:
    """Return where the images and label files are, and the split of each.

    Args:
        root: the dataset's folder; all images lie in it.
        file: see ``read_description``.
        labels: the folder of label files relative to ``root``, in place of ``images`` in the images' paths; None looks.
        shares: what to hold out of the training images; by default only what is missing.

    Raises:
        ConfigError: the shares leave nothing to train on.
        DataError: a folder, a list or all label files are missing.
    """
    shares = shares or Shares()
    check_shares(shares.val, shares.test)
    root = require_folder(Path(root), root, YOLO_HOW_TO_GET)
    if labels is not None:
        require_folder(root / labels, root, YOLO_HOW_TO_GET)
    description = read_description(root, file)
    finder = _Finder(root, description, labels)
    found = finder.described() if description.splits else finder.by_folder()
    every = [picture for pictures in found.values() for picture in pictures]
    if not any(picture.label for picture in every):
        tried = finder.candidates(every[0].image)
        raise DataError(
            f"{root}: none of the {len(every)} images has a label file; looked for {' and '.join(tried)}; name the "
            "folder by data.labels"
        )
    finder.count_strays(every)
    keypoints = description.keypoints
    splits, said = complete_splits(
        found,
        "; ".join(finder.said),
        shares,
        str(root),
        lambda picture: picture.image,
        lambda picture: set(read_labels(root / picture.label, keypoints).classes) if picture.label else (),
    )
    return YoloLayout(root, description, splits, said)


class _Finder:
    """Looks for the places that a description names."""

    def __init__(self, root: Path, description: Description, labels: str | None) -> None:
        self.root, self.description, self.labels, self.said = root, description, labels, list[str]()
        beside = description.file.parent if description.file else root
        folders = [beside / description.path] if description.path else []
        if description.path and not _is_there(folders[0], Path.is_dir):
            self.said.append(
                f"path={_shown(description.path)} is not there, places are looked for in the folder itself"
            )
        self.bases = list(dict.fromkeys([*folders, beside, root]))

    def described(self) -> dict[str, list[Picture]]:
        """Return the images of each split that the description names."""
        found: dict[str, list[Picture]] = {}
        for split, places in self.description.splits.items():
            missing = [place for place in places if self._find(place) is None]
            if missing and split == TEST:
                self.said.append(f"test={_shown(missing[0])} is not there")
                continue
            if missing:
                where = ", ".join(str(base) for base in self.bases)
                raise DataError(
                    f"{self.description.file}: {split}={_shown(missing[0])} is not there; looked in {where}"
                )
            images = [image for place in places for image in self._images(place)]
            found[split] = self._pictures(images, split)
        if TRAIN not in found:
            raise DataError(f"{self.description.file} names no images to train on: give train a folder or a list")
        self._say_shared(found)
        return found

    def by_folder(self) -> dict[str, list[Picture]]:
        """Return the images of the splits that folders are named for; all are to train on if none is."""
        images, found = [name for name, _ in list_files(self.root)], defaultdict[str, list[str]](list)
        for name in images:
            parts = {part.lower() for part in PurePosixPath(name).parent.parts}
            splits = {SPLIT_FOLDERS[part] for part in parts if part in SPLIT_FOLDERS}
            found[splits.pop() if len(splits) == 1 else ""].append(name)
        if not images:
            raise DataError(f"no image is in {self.root}; {YOLO_HOW_TO_GET}")
        if not found.get(TRAIN):
            self.said.append("no data.yaml names splits and no folder is named for them")
            return {TRAIN: self._pictures(images, TRAIN)}
        self.said.append("splits are those of the folders' names")
        if found.get(""):
            self.said.append(f"{len(found[''])} images in no folder of a split left out")
        return {split: self._pictures(found[split], split) for split in (TRAIN, VAL, TEST) if found.get(split)}

    def candidates(self, image: str) -> list[str]:
        """Return where the label file of an image may lie, relative to the root, the likeliest first."""
        path = PurePosixPath(image).with_suffix(".txt")
        folders = [place for place, part in enumerate(path.parent.parts) if part.lower() in ("images", "jpegimages")]
        tail = path.parts[folders[-1] + 1 :] if folders else path.parts
        if self.labels is not None:
            return list(
                dict.fromkeys([str(PurePosixPath(self.labels, *tail)), str(PurePosixPath(self.labels, path.name))])
            )
        swapped = [
            str(PurePosixPath(*path.parts[:place], name, *path.parts[place + 1 :]))
            for place in folders[-1:]
            for name in ("labels", *(["Labels"] if path.parts[place][0].isupper() else []))
        ]
        return [*swapped, str(path), *([] if folders else [str(PurePosixPath("labels", *path.parts))])]

    def count_strays(self, pictures: Iterable[Picture]) -> None:
        """Say which label files belong to no image."""
        used = {picture.label for picture in pictures}
        folders = {str(PurePosixPath(label).parent) for label in used if label}
        others = {*NAMES_FILES, *(PurePosixPath(name).name for name in NAMES_FILES)}
        shared = [
            label for label, count in Counter(picture.label for picture in set(pictures)).items() if label and count > 1
        ]
        if shared:
            self.said.append(f"{len(shared)} label files belong to several images of one name ({_some(shared)})")
        strays = [
            f"{folder}/{path.name}"
            for folder in sorted(folders)
            for path in sorted((self.root / folder).glob("*.txt"))
            if str(PurePosixPath(folder, path.name)) not in used and path.name not in others and _is_label(path)
        ]
        if strays:
            self.said.append(f"{len(strays)} label files of no image left out ({_some(strays)})")

    def _find(self, place: str) -> Path | None:
        """Return the folder or list that a description names, wherever it lies."""
        plain = place.replace("\\", "/")
        inside = plain.removeprefix("./")
        while inside.startswith("../"):
            inside = inside[3:]
        options = [base / name for name in dict.fromkeys([plain, inside]) for base in self.bases]
        parts = [part for part in PurePosixPath(inside).parts if part not in ("/", "..")]
        file = self.description.file
        elsewhere = plain.startswith("/") or plain[1:2] == ":"
        if elsewhere or (file is not None and file.suffix == ".data"):  # darknet's are relative to its own folder
            options += [self.root.joinpath(*parts[start:]) for start in range(1, len(parts))]
        return next((option for option in options if _is_there(option, Path.exists) and self._inside(option)), None)

    def _inside(self, path: Path) -> bool:
        """Return whether a path lies in the dataset's folder; links are not followed."""
        return _absolute(path).is_relative_to(_absolute(self.root))

    def _name(self, path: Path) -> str:
        """Return a path relative to the dataset's folder."""
        return _absolute(path).relative_to(_absolute(self.root)).as_posix()

    def _images(self, place: str) -> list[str]:
        """Return the images of a folder, a list, or the one image that a place is."""
        path = self._find(place)
        assert path is not None
        if path.is_dir():
            folder = self._name(path)
            return [str(PurePosixPath(folder, name)) for name, _ in list_files(path)]
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return [self._name(path)]
        return self._listed(path)

    def _listed(self, file: Path) -> list[str]:
        """Return the images that a list names; one that is not there keeps its name, and its row says so."""
        found, elsewhere, bases = [], 0, [file.parent, *self.bases]
        for line in read_names(file):
            name = line.replace("\\", "/")
            direct = next((path for path in (base / name for base in bases) if _is_there(path)), None)
            path = direct if direct is not None and self._inside(direct) else self._by_tail(name, bases)
            elsewhere += direct is None and path is not None
            found.append(self._name(path) if path is not None else name)
        if elsewhere:
            self.said.append(f"{file.name}: {elsewhere} of {len(found)} images found by the last parts of their paths")
        return found

    def _by_tail(self, name: str, bases: Iterable[Path]) -> Path | None:
        """Return the image that the last parts of a path name."""
        parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..")]
        options = (base.joinpath(*parts[start:]) for start in range(len(parts)) for base in bases)
        return next((option for option in options if _is_there(option) and self._inside(option)), None)

    def _pictures(self, images: Sequence[str], split: str) -> list[Picture]:
        """Return images with their label files; one that stands twice is taken once."""
        counts = Counter(images)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            self.said.append(f"{len(twice)} images stand in {split} again, taken once ({_some(twice)})")
        if not images:
            raise DataError(f"{self.description.file or self.root}: {split} has no image; {YOLO_HOW_TO_GET}")
        return [Picture(as_utf8(name), self._label(name)) for name in counts]

    def _label(self, image: str) -> str:
        spelled = (name for candidate in self.candidates(image) for name in (candidate, f"{candidate[:-4]}.TXT"))
        stored = (stored_name(self.root, name) for name in spelled)
        return next((name for name in stored if _is_there(self.root / name)), "")

    def _say_shared(self, found: Mapping[str, Collection[Picture]]) -> None:
        """Say how many images of validation and test are trained on too."""
        train = {picture.image for picture in found[TRAIN]}
        for split in (VAL, TEST):
            both = sorted(train & {picture.image for picture in found.get(split, ())})
            if both:
                self.said.append(f"{len(both)} images of {split} are trained on too ({_some(both)})")


def _is_label(path: Path) -> bool:
    """Return whether the first line of a text file may be that of a label file: it begins with a number."""
    if not path.is_file():  # a broken link, a pipe
        return False
    with path.open("rb") as file:
        return file.readline(64).strip()[:1].isdigit()


def _is_there(path: Path, exists: Callable[[Path], bool] = Path.is_file) -> bool:
    """Return whether a path exists; no file system has one that is too long for it."""
    try:
        return exists(path)
    except OSError:
        return False


def _shown(place: str) -> str:
    """Return a place as it stands in the description, cut if it cannot be the name of a file."""
    return place if len(place) <= MAX_SHOWN_PLACE else short(place)


def _absolute(path: Path) -> Path:
    """Return a path without ``.`` and ``..``, links not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _some(names: Sequence[str]) -> str:
    more = len(names) - MAX_SHOWN
    return ", ".join(names[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")
