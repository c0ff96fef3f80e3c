"""Finds the images, XML files and splits of a Pascal VOC dataset, in the layouts of several tools.

- If there are lists in ``ImageSets/Main``, they define the splits, as in VOC itself.
- Otherwise folders do: ``train``, ``valid`` or ``val``, ``test`` anywhere in the path of an XML (Roboflow).
- With neither, a share of the images is held out for validation, balanced by class (LabelImg, CVAT).

XML files and images may be in the same folder or in folders of any name and depth. An XML belongs to the image of the
same name; if several images have it, to the one that its ``<filename>`` names or that is nearest in the tree of
folders. Only the standard library is used.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lab.data.folders import list_files, name_problem
from lab.data.holdout import TEST, TRAIN, VAL, check_shares
from lab.data.images.fingerprint import VOC_HOW_TO_GET, add_file, add_images, require_file, require_folder
from lab.errors import DataError, closest
from lab.tasks.detection.data.held_out import SPLIT_FOLDERS, Shares, complete_splits
from lab.tasks.detection.data.voc_pairs import Pair, classes_of, listed, pair_files, path_stem

XML = frozenset({".xml"})


@dataclass(frozen=True)
class VocLayout:
    """The files of a dataset.

    Attributes:
        images: the folder of images.
        annotations: the folder of XML files.
        splits: the pairs of image and XML in ``"train"``, ``"val"`` and ``"test"``.
        said: how the splits were made, for the user; ``""`` if lists define all of them.
        lists: the list file of each split that has one.
    """

    images: Path
    annotations: Path
    splits: Mapping[str, tuple[Pair, ...]]
    said: str = ""
    lists: Mapping[str, Path] = field(default_factory=dict)

    def fingerprint(self, split: str) -> str:
        """Return a hash of a split: its list or pairs, its XML files, and the names and contents of all images."""
        by_list = not self.said and split in self.lists
        digest = hashlib.sha256(b"voc-3" if by_list else b"voc-4")
        if by_list:
            add_file(digest, self.lists[split])
        for pair in self.splits[split]:
            digest.update(f"{path_stem(pair.xml)}\0".encode("utf-8", "surrogateescape"))
            if not by_list:
                digest.update(f"{pair.image}\0".encode("utf-8", "surrogateescape"))
            path = self.annotations / pair.xml
            if not name_problem(pair.xml) and path.is_file():  # a missing one is a bad sample, and part of what it is
                add_file(digest, path)
        add_images(digest, self.images)
        return digest.hexdigest()


def find_layout(
    root: str | Path,
    lists: Mapping[str, str | None],
    images: str | None = None,
    annotations: str | None = None,
    val_share: float | None = None,
    test_share: float | None = None,
    seed: int = 0,
) -> VocLayout:
    """Return where the images and XML files are, and the split of each.

    Args:
        root: the dataset's folder.
        lists: the list of ``"train"``, ``"val"`` and ``"test"`` in ``ImageSets/Main``, without suffix; None for none.
        images: the folder of images relative to ``root``; None uses ``JPEGImages`` if it exists, else all of ``root``.
        annotations: the folder of XML files relative to ``root``; None uses ``Annotations``, else all of ``root``.
        val_share: share of the training images to hold out for validation; None: 0.2 if neither lists nor folders
            define a validation set.
        test_share: the same for the test; None: 0, and without a test set the test uses the validation set.
        seed: decides which images are held out.

    Raises:
        ConfigError: the shares leave nothing to train on.
        DataError: a folder or list is missing, or there is no XML.
    """
    check_shares(val_share, test_share)
    root = require_folder(Path(root), root, VOC_HOW_TO_GET)
    files = {split: _list_file(root, name) for split, name in lists.items() if name is not None}
    _refuse_mistyped(root, lists, files)
    place = _folder(root, images, "JPEGImages"), _folder(root, annotations, "Annotations")
    pictures, xmls = [name for name, _ in list_files(place[0])], [name for name, _ in list_files(place[1], XML)]
    if files and files[TRAIN].is_file():
        there = {split: file for split, file in files.items() if file.is_file()}
        pairs = {split: listed(file, xmls, pictures, *place) for split, file in there.items()}
        return replace(_complete(*place, pairs, "", val_share, test_share, seed), lists=there)
    if not xmls:
        raise DataError(f"no XML file is in {place[1]}; {VOC_HOW_TO_GET}")
    everything = pair_files(xmls, pictures, *place)
    by_folder = _by_folder(everything)
    pairs = by_folder or {TRAIN: everything}
    how = "splits are those of the folders' names" if by_folder else "no lists in ImageSets/Main, no folders of splits"
    used = {pair.image for found in pairs.values() for pair in found}
    for count, what in (
        (len(everything) - sum(map(len, pairs.values())), "XML files in no folder of a split"),
        (len(set(pictures) - {pair.image for pair in everything} - used), "images without XML"),
    ):
        how += f", {count} {what} left out" if count else ""
    return _complete(*place, pairs, how, val_share, test_share, seed)


def list_layout(root: str | Path, split: str) -> VocLayout:
    """Return the layout with one split: a list in ``ImageSets/Main``, under the name of the list.

    Raises:
        DataError: the list or a folder is missing.
    """
    file = require_file(_list_file(Path(root), split), root, VOC_HOW_TO_GET)
    annotations = require_folder(Path(root) / "Annotations", root, VOC_HOW_TO_GET)
    images = require_folder(Path(root) / "JPEGImages", root, VOC_HOW_TO_GET)
    xmls = [name for name, _ in list_files(annotations, XML)]
    pairs = listed(file, xmls, [name for name, _ in list_files(images)], images, annotations)
    return VocLayout(images, annotations, {split: tuple(pairs)}, lists={split: file})


def _by_folder(everything: Iterable[Pair]) -> dict[str, list[Pair]]:
    """Return the pairs of each split named by a folder; nothing if no folder is named for training."""
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in everything:
        parts = PurePosixPath(pair.xml).parent.parts + PurePosixPath(pair.image).parent.parts
        splits = {SPLIT_FOLDERS[part.lower()] for part in parts if part.lower() in SPLIT_FOLDERS}
        found[splits.pop() if len(splits) == 1 else ""].append(pair)
    return {split: found[split] for split in (TRAIN, VAL, TEST) if found.get(split)} if found.get(TRAIN) else {}


def _complete(
    images: Path,
    annotations: Path,
    pairs: dict[str, list[Pair]],
    how: str,
    val_share: float | None,
    test_share: float | None,
    seed: int,
) -> VocLayout:
    """Hold out images for validation and test where these are missing or a share is asked for; say so."""
    shares = Shares(val_share, test_share, seed)
    splits, said = complete_splits(
        pairs, how, shares, str(annotations), lambda pair: pair.xml, lambda pair: classes_of(annotations / pair.xml)
    )
    return VocLayout(images, annotations, splits, said)


def _folder(root: Path, given: str | None, usual: str) -> Path:
    if given is not None:
        return require_folder(root / given, root, VOC_HOW_TO_GET)
    return root / usual if (root / usual).is_dir() else root


def _list_file(root: Path, name: str) -> Path:
    return root / name if name.endswith(".txt") else root / "ImageSets" / "Main" / f"{name}.txt"


def _refuse_mistyped(root: Path, lists: Mapping[str, str | None], files: Mapping[str, Path]) -> None:
    """Refuse a missing list if the user named it, or if another split has its list."""
    main = root / "ImageSets" / "Main"
    there = sorted(path.stem for path in main.glob("*.txt")) if main.is_dir() else []
    some = any(file.is_file() for file in files.values())
    for split, file in files.items():
        if not file.is_file() and (lists[split] != split or (split == TRAIN and some)):
            near = closest(str(lists[split]), there) or (f"; there is {', '.join(there[:5])}" if there else "")
            raise DataError(f"no list {file} (data.{split}_split={lists[split]}){near}")
