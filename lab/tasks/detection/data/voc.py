"""Pascal VOC directories: one XML file per image; ``lab.tasks.detection.data.voc_layout`` finds files and splits.

Format: Everingham et al., The Pascal Visual Object Classes Challenge, development kit. Corners are pixels counted from
1, both included: ``xmin=1, xmax=640`` is the whole width of 640 pixels. As pixel edges that is ``xmin - 1`` and
``xmax``, so that boxes become (xmin - 1, ymin - 1, xmax, ymax) exactly. A box whose corners coincide or are swapped
(``xmax <= xmin``) counts as an annotator's mistake, not as a box of one pixel, and is left out.

Objects marked ``difficult`` are neither hits nor misses in VOC's evaluation. Here they are treated like COCO's crowds:
left out of training, kept in ``truth`` with ``iscrowd`` set. The area of an object is that of its box.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from lab.data.folders import as_utf8, list_files
from lab.data.images.annotations import ROWS_VERSION, build_table, make_row
from lab.data.images.class_names import check_names
from lab.data.images.dataset import READING, Reading
from lab.errors import DataError
from lab.ranges import Share, Word
from lab.tasks.detection.data.dataset import DetectionDataset
from lab.tasks.detection.data.module import FilesDataModule
from lab.tasks.detection.data.transforms import DetectionTransform
from lab.tasks.detection.data.voc_layout import XML, VocLayout, find_layout, list_layout
from lab.tasks.detection.data.voc_xml import object_names, parse, read_voc

log = logging.getLogger(__name__)


class VocDataset(DetectionDataset):
    """One split of a Pascal VOC directory. ``image_id`` is the image's index in the split, from 0.

    Args:
        root: the folder with ``ImageSets/Main``, ``Annotations`` and ``JPEGImages``, or with the folders of ``layout``.
        split: the name of a list in ``ImageSets/Main`` without its suffix, or of a split of ``layout``.
        reading: how the images are read.
        class_names: the name of each label in label order; None uses all names in the XML files, sorted.
        layout: where the files of the splits are; None looks for the list.

    Raises:
        ConfigError: two classes have the same name.
        DataError: the list or a folder is missing, or no class is found.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        reading: Reading[DetectionTransform] = READING,
        class_names: Sequence[str] | None = None,
        layout: VocLayout | None = None,
    ) -> None:
        layout = list_layout(root, split) if layout is None else layout
        self._fingerprint = layout.fingerprint(split)
        names = check_names(class_names) if class_names is not None else discover_classes(layout.annotations)
        arguments = {
            "images": str(layout.images.resolve()),
            "annotations": str(layout.annotations.resolve()),
            "pairs": tuple((as_utf8(pair.image), as_utf8(pair.xml), pair.problem) for pair in layout.splits[split]),
            "class_names": names,
            "key": f"{ROWS_VERSION}-{self._fingerprint}",
        }
        table = build_table(read_rows, arguments)
        source = f"{Path(root)} split {split}"
        super().__init__(table, layout.images, names, reading, source)

    def fingerprint(self) -> str:
        """Return the hash of the split, its annotations, and of the images' names and contents."""
        return self._fingerprint


@dataclass(eq=False)
class VocDataModule(FilesDataModule):
    """``data=voc``: a Pascal VOC directory, or any folder of images and their XML files.

    Args:
        train_split: the list in ``ImageSets/Main`` to train on, without its suffix; lists are optional.
        val_split: the list to validate on.
        test_split: the list to test on.
        images: see ``find_layout``.
        annotations: see ``find_layout``.
        val_share: see ``find_layout``.
        test_share: see ``find_layout``.
        class_names: see ``VocDataset``.
    """

    _: KW_ONLY
    train_split: Word | None = "train"
    val_split: Word | None = "val"
    test_split: Word | None = "test"
    images: Word | None = None
    annotations: Word | None = None
    val_share: Share | None = None
    test_share: Share | None = None
    class_names: Sequence[str] | None = None

    @functools.cached_property
    def layout(self) -> VocLayout:
        """Where the images, XML files and splits are; how they were found is logged once.

        Raises:
            DataError: they are missing.
        """
        splits = {"train": self.train_split, "val": self.val_split, "test": self.test_split}
        places = (self.images, self.annotations, self.val_share, self.test_share)
        found = find_layout(self.folder, splits, *places, seed=self.seed)
        if found.said:
            log.warning("%s: %s", self.folder, found.said)
        return found

    def build(self, split: str) -> VocDataset:
        """Return the dataset of a split."""
        return VocDataset(self.folder, split, self.reading(split), self.class_names, self.layout)


def discover_classes(annotations: Path) -> tuple[str, ...]:
    """Return the names of all objects in a folder of XML files, of all splits, sorted.

    Raises:
        DataError: there is no object.
    """
    names: set[str] = set()
    for name, _ in list_files(annotations, XML):
        root, _ = parse(annotations / name)  # problems are recorded in the row of the image
        names |= set() if root is None else object_names(root)
    if not names:
        raise DataError(f"{annotations} holds no XML with objects, so there are no classes; name them by class_names")
    return tuple(sorted(names))


def read_rows(
    images: str, annotations: str, pairs: Sequence[tuple[str, str, str]], class_names: Sequence[str], key: str
) -> Iterator[dict[str, Any]]:
    """Yield a row (see ``make_row``) for each image, XML and problem; ``key`` only makes the cache's key unique."""
    del key
    labels = {name: label for label, name in enumerate(class_names)}
    folder = Path(images)
    for position, (name, xml, problem) in enumerate(pairs):
        if problem:
            yield make_row(folder, name, position, None, []) | {"unreadable": problem}
            continue
        found = read_voc(Path(annotations) / xml, labels)
        row = make_row(folder, name, position, found.stated_size, found.objects, found.bad)
        yield row | {"unreadable": row["unreadable"] or found.unreadable}
