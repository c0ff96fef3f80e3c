"""Images with YOLO label files and a ``data.yaml``: what most hobby datasets come as.

``lab.tasks.detection.data.yolo_layout`` finds files and splits, ``yolo_labels`` reads a label file. Boxes become xyxy
in pixels of the upright image. An image whose label file is empty or missing has no objects; both are counted.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from lab.data.images.annotations import ROW_COLUMNS, ROWS_VERSION, build_table, make_row
from lab.data.images.class_names import check_names, distinct_names
from lab.data.images.dataset import READING, Reading
from lab.errors import DataError
from lab.ranges import Share, Word
from lab.tasks.detection.data.dataset import DetectionDataset
from lab.tasks.detection.data.held_out import Shares
from lab.tasks.detection.data.module import FilesDataModule
from lab.tasks.detection.data.transforms import DetectionTransform
from lab.tasks.detection.data.yolo_labels import LabelFile, read_labels
from lab.tasks.detection.data.yolo_layout import YoloLayout, find_yolo

log = logging.getLogger(__name__)

NOTED = ("polygons", "keypoints", "outside", "empty", "unlabelled")
"""Columns of notes that only these rows have; see ``lab.data.images.problems``."""
COLUMNS = {**ROW_COLUMNS, **dict.fromkeys(NOTED, "[string]")}


class YoloDataset(DetectionDataset):
    """One split of a dataset with YOLO label files. ``image_id`` is the image's index in the split, from 0.

    Args:
        layout: where the files of the splits are.
        split: ``"train"``, ``"val"`` or ``"test"``.
        reading: how the images are read.
        class_names: the name of each label in label order; None uses those of the description.

    Raises:
        ConfigError: two classes of ``class_names`` have the same name.
        DataError: no class has a name, or no image can be used.
    """

    def __init__(
        self,
        layout: YoloLayout,
        split: str = "train",
        reading: Reading[DetectionTransform] = READING,
        class_names: Sequence[str] | None = None,
    ) -> None:
        names = names_of(layout, class_names)
        self._fingerprint = layout.fingerprint(split, names)
        arguments = {
            "root": str(layout.root.resolve()),
            "pictures": tuple((picture.image, picture.label) for picture in layout.splits[split]),
            "classes": len(names),
            "keypoints": layout.description.keypoints,
            "key": f"{ROWS_VERSION}-{self._fingerprint}",
        }
        table = build_table(read_rows, arguments, COLUMNS)
        super().__init__(table, layout.root, names, reading, f"{layout.root} split {split}")

    def fingerprint(self) -> str:
        """Return the hash of the split, its labels, and of the images' names and contents."""
        return self._fingerprint


@dataclass(eq=False)
class YoloDataModule(FilesDataModule):
    """``data=yolo_txt``: images with YOLO label files.

    Args:
        file: see ``read_description``.
        labels: see ``find_yolo``.
        val_share: share of the training images to hold out for validation; None: 0.2 if there is no validation set.
        test_share: the same for the test; None: none, and without a test set the test uses the validation set.
        class_names: see ``YoloDataset``.
    """

    _: KW_ONLY
    file: Word | None = None
    labels: Word | None = None
    val_share: Share | None = None
    test_share: Share | None = None
    class_names: Sequence[str] | None = None

    @functools.cached_property
    def layout(self) -> YoloLayout:
        """Where the images, label files and splits are; what is odd about it is logged once.

        Raises:
            DataError: they are missing.
        """
        found = find_yolo(self.folder, self.file, self.labels, Shares(self.val_share, self.test_share, self.seed))
        if found.said:
            log.warning("%s: %s", self.folder, found.said)
        return found

    def build(self, split: str) -> YoloDataset:
        """Return the dataset of a split."""
        return YoloDataset(self.layout, split, self.reading(split), self.class_names)


def names_of(layout: YoloLayout, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the classes, each once.

    Raises:
        ConfigError: two given names are the same.
        DataError: there are none.
    """
    if given is not None:
        return check_names(given)
    names, file = layout.description.names, layout.description.file
    if names is None:
        where = f"{file} has no names" if file else f"{layout.root} has no data.yaml"
        raise DataError(f"{where}, so the classes have none; add names: [...] to it, or give data.class_names=[...]")
    return tuple(name for _, name in distinct_names(list(enumerate(names)), str(file)))


def read_rows(
    root: str, pictures: Sequence[tuple[str, str]], classes: int, keypoints: int, key: str
) -> Iterator[dict[str, Any]]:
    """Yield a row (see ``make_row``) for each image and label file; ``key`` only makes the cache's key unique."""
    del key
    folder = Path(root)
    for position, (image, label) in enumerate(pictures):
        found = read_labels(folder / label, keypoints) if label else LabelFile()
        objects = functools.partial(found.objects, classes)
        row = make_row(folder, image, position, None, objects, found.bad, found.twice)
        row |= {"polygons": found.polygons, "keypoints": found.keypoints, "outside": found.outside}
        row |= {"empty": [label] if label and found.empty else [], "unlabelled": [] if label else [row["file_name"]]}
        yield row | {"unreadable": row["unreadable"] or found.unreadable}
