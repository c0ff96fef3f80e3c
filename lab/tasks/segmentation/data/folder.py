"""Datasets of a folder of images and a folder of label maps (CamVid, ADE20K, Cityscapes), each described by a YAML."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch

from lab.data.folders import IMAGE_SUFFIXES, as_utf8, name_problem
from lab.data.images.annotations import build_table, find_image
from lab.data.images.class_names import check_names
from lab.data.images.dataset import READING, Reading
from lab.data.images.fingerprint import folder_fingerprint, image_names, require_file
from lab.data.images.module import SplitFilesModule
from lab.data.lists import read_names
from lab.data.parts import Part
from lab.data.text_files import read_text
from lab.errors import ConfigError
from lab.ranges import Pixels
from lab.structures import NO_SEGMENT
from lab.tasks.segmentation.data.dataset import MAP_COLUMNS, Annotation, SegmentationDataset
from lab.tasks.segmentation.data.label_maps import LabelTable, label_header, pack_color, read_ids, tell_ignored
from lab.tasks.segmentation.data.module import SegmentationFilesModule
from lab.tasks.segmentation.data.segments import SegmentKind, merge_classes
from lab.tasks.segmentation.data.transforms import SegmentationTransform

HOW_TO_GET = "name the folders by data.root, data.train.images, data.train.labels, data.val..."


class FolderSegmentation(SegmentationDataset):
    """Images and label maps with corresponding names.

    Args:
        root: the dataset's folder.
        images: the folder of images, relative to ``root``, with its subfolders.
        labels: the folder of label maps, relative to ``root``.
        class_names: the name of each label.
        names: a file that lists the images of the split, relative to ``root``, one per line, with or without suffix;
            None uses all images of the folder.
        image_suffix: the end of the images' names; None for any suffix of an image.
        label_suffix: what replaces it in the name of the label map.
        label_ids: the stored id of each label; None counts from 0.
        ignore_ids: stored ids of pixels without a class.
        colors: [red, green, blue] of each label if the label maps are RGB; ``ignore_ids`` are then packed numbers
            R + 256 G + 65536 B.
        reading: how images and maps are read.
        part: the part of the files to use; None uses all of them.

    Raises:
        ConfigError: the lists differ in length, or two classes have the same name.
        DataError: a folder is missing, or nothing in it can be used.
    """

    def __init__(
        self,
        root: str | Path,
        images: str,
        labels: str,
        class_names: Sequence[str],
        names: str | None = None,
        image_suffix: str | None = None,
        label_suffix: str = ".png",
        label_ids: Sequence[int] | None = None,
        ignore_ids: Sequence[int] = (255,),
        colors: Sequence[Sequence[int]] | None = None,
        reading: Reading[SegmentationTransform] = READING,
        part: Part | None = None,
    ) -> None:
        root = Path(root)
        check_names(class_names)
        self._packed = colors is not None
        ids = tuple(map(pack_color, colors)) if colors is not None else label_ids
        if ids is not None and len(ids) != len(class_names):
            which = "data.colors" if self._packed else "data.label_ids"
            raise ConfigError(f"{which} has {len(ids)} entries for {len(class_names)} class_names; give one for each")
        ids = tuple(range(len(class_names)) if ids is None else ids)
        self._lookup = LabelTable(ids, ignore_ids)
        tell_ignored(class_names, ids, ignore_ids)
        self._fingerprint = folder_fingerprint(root, images, labels, names, HOW_TO_GET)
        arguments: dict[str, Any] = {
            "images": str((root / images).resolve()),
            "labels": str((root / labels).resolve()),
            "names": None if names is None else str(require_file(root / names, root, HOW_TO_GET).resolve()),
            "suffixes": (image_suffix, label_suffix),
            "packed": self._packed,
            "key": f"2-{self._fingerprint}",
        }
        if part is None:
            table = build_table(read_pairs, arguments, MAP_COLUMNS)
        else:  # balanced by class, so every map is read, once for all runs (cached)
            arguments |= {"ids": ids, "ignore_ids": tuple(ignore_ids)}
            table = build_table(read_labelled_pairs, arguments, MAP_COLUMNS | {"labels": "[int64]"})
            table, self._fingerprint = part.of(table, self._fingerprint, str(root / images))
        source, names_of = str(root / images), tuple(class_names)
        super().__init__(table, root / images, root / labels, names_of, reading, "semantic", source)

    def fingerprint(self) -> str:
        """Return a hash of the list, and of the names and contents of images and label maps."""
        return self._fingerprint

    def _read(self, path: Path, row: dict[str, Any]) -> tuple[Annotation, Mapping[int, int]]:
        classes, unknown = self._lookup.look_up(read_ids(path, self._packed))
        segments, labels = merge_classes(classes, torch.arange(len(self.class_names)))
        return Annotation(segments, labels, torch.zeros(len(labels), dtype=torch.bool)), unknown


def read_pairs(
    images: str, labels: str, names: str | None, suffixes: tuple[str | None, str], packed: bool, key: str
) -> Iterator[dict[str, Any]]:
    """Yield a row for each image, and for each label map of the split whose image is missing.

    ``key`` only makes the cache's key unique.
    """
    del key
    image_suffix, label_suffix = suffixes
    found = [name for name in image_names(Path(images)) if image_suffix is None or name.endswith(image_suffix)]
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in found:
        by_stem[_stem(name, image_suffix)].append(name)
    if names is not None:
        whole = frozenset(found)
        listed = read_names(names, {*by_stem, *whole})
        chosen = [(_stem(name, image_suffix), [name] if name in whole else None) for name in listed]
    else:
        maps = [name for name in image_names(Path(labels)) if name.endswith(label_suffix)]
        stems = sorted({*by_stem, *(name.removesuffix(label_suffix) for name in maps)})
        chosen = [(stem, None) for stem in stems]
    seen: set[str] = set()
    for number, (stem, exact) in enumerate(chosen):
        files = exact or by_stem.get(stem) or [stem + (image_suffix or "")]
        name, label = files[0], stem + label_suffix
        problem = name_problem(stem) or ("it is listed twice" if stem in seen else "")
        problem = problem or ("" if exact or stem in by_stem else "no such image")
        problem = problem or (f"two images of one name: {', '.join(files)}" if len(files) > 1 else "")
        seen.add(stem)
        size, unreadable = ((0, 0), problem) if problem else find_image(Path(images), name)[1:3]
        if not unreadable:
            label_size, unreadable = label_header(Path(labels), label, packed)
            if not unreadable and label_size != size:
                unreadable = f"its label map is {label_size[1]}x{label_size[0]}, the image {size[1]}x{size[0]}"
        row = {"image_id": number, "file_name": as_utf8(name), "label_name": as_utf8(label)}
        yield row | {"height": size[0], "width": size[1], "unreadable": unreadable}


def read_labelled_pairs(ids: tuple[int, ...], ignore_ids: tuple[int, ...], **pairs: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``read_pairs`` with the ``labels`` that have a pixel in each map."""
    lookup = LabelTable(ids, ignore_ids)
    for row in read_pairs(**pairs):
        present: list[int] = []
        if not row["unreadable"]:
            try:
                classes, _ = lookup.look_up(read_ids(Path(pairs["labels"]) / row["label_name"], pairs["packed"]))
                present = [label for label in classes.unique().tolist() if label != NO_SEGMENT]
            except (OSError, ValueError, SyntaxError, EOFError):
                present = []  # what is wrong is reported when it is read as a sample
        yield row | {"labels": present}


def _stem(name: str, suffix: str | None) -> str:
    if suffix is not None:
        return name.removesuffix(suffix)
    path = Path(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in IMAGE_SUFFIXES else path.as_posix()


@dataclass(eq=False)
class FolderDataModule(SplitFilesModule, SegmentationFilesModule):
    """``data=segfolder``, ``camvid``, ``ade20k``, ``cityscapes``: folders of ``images`` and ``labels`` below one root.

    A split may also have ``names``, a file that lists its images.

    Args:
        segments: ``"semantic"``: one segment per class; label maps of classes allow nothing else.
        class_names: the name of each label, or a text file below ``root`` with one name per line.
        image_suffix: see ``FolderSegmentation``.
        label_suffix: see ``FolderSegmentation``.
        label_ids: see ``FolderSegmentation``.
        ignore_ids: see ``FolderSegmentation``.
        colors: see ``FolderSegmentation``.
    """

    _: KW_ONLY
    segments: SegmentKind = "semantic"
    image_size: Pixels | None = 512
    class_names: Sequence[str] | str | None = None
    image_suffix: str | None = None
    label_suffix: str = ".png"
    label_ids: Sequence[int] | None = None
    ignore_ids: Sequence[int] = (255,)
    colors: Sequence[Sequence[int]] | None = None

    needed = ("images", "labels")
    allowed = ("names",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.segments != "semantic":
            raise ConfigError(
                "data.segments=panoptic: label maps of classes do not tell objects apart; set data.segments=semantic, "
                "or take data=coco_panoptic"
            )
        if not self.class_names:
            raise ConfigError("data.class_names is missing: give a list of names, or a text file with one in a line")

    def read(self, files: Mapping[str, str], reading: Reading[Any], part: Part | None) -> FolderSegmentation:
        """Return the dataset of two folders."""
        return FolderSegmentation(
            self.folder,
            files["images"],
            files["labels"],
            self._names(),
            files.get("names"),
            self.image_suffix,
            self.label_suffix,
            self.label_ids,
            self.ignore_ids,
            self.colors,
            reading,
            part,
        )

    def check_classes(self, dataset: Any, files: Mapping[str, str]) -> None:
        """Do nothing: all splits have the names that were given."""

    def _names(self) -> list[str]:
        if not isinstance(self.class_names, str):
            return list(self.class_names or ())
        path = require_file(self.folder / self.class_names, self.folder, HOW_TO_GET)
        return [line.strip() for line in read_text(path).split("\n") if line.strip()]
