"""The dataset of keyframes: six pictures, what projects into them, boxes to learn from, annotations to measure by."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.data.images.annotations import BadSamplePolicy, tell_once
from lab.data.images.opening import ImageFileError, read_image, read_image_header
from lab.data.images.resizing import sample_generator
from lab.data.presence import ClassCounts
from lab.errors import DataError
from lab.structures.detection3d import RACK, Detection3dTruth, MultiviewSample
from lab.tasks.detection3d.data.collate import draw_chances
from lab.tasks.detection3d.data.nuscenes.balancing import balanced_frames
from lab.tasks.detection3d.data.nuscenes.frames import Frame
from lab.tasks.detection3d.data.nuscenes.names import BICYCLE_RACK

log = logging.getLogger(__name__)
UnknownVelocity = Literal["zero", "unknown"]
_NONE_OF_THEM = -2


@dataclass(frozen=True)
class FrameReading:
    """How frames are read.

    Attributes:
        class_names: the name of each label.
        point_range: (x0, y0, z0, x1, y1, z1) metres; a box is learnt whose centre is between them in x and y.
        image_size: (height, width) of all pictures.
        train: whether frames are learnt from.
        use_valid_flag: learn boxes with any lidar or radar point inside, not those alone with a lidar point.
        unknown_velocity: what an unknown velocity is learnt as: 0, or as unknown.
        class_balanced: frames of rare classes stand more often in an epoch.
        on_bad_sample: what happens if a picture cannot be decoded.
        seed: decides, with epoch and index, what is drawn for a frame.
        cache_images: keep decoded pictures in the memory of each worker.
        with_truth: whether frames have their annotations, in evaluation.
    """

    class_names: tuple[str, ...]
    point_range: tuple[float, ...]
    image_size: tuple[int, int]
    train: bool = True
    use_valid_flag: bool = True
    unknown_velocity: UnknownVelocity = "zero"
    class_balanced: bool = False
    on_bad_sample: BadSamplePolicy = "skip"
    seed: int = 0
    cache_images: bool = False
    with_truth: bool = True


class FrameDataset:
    """Keyframes, read by the key ``(epoch, index)``.

    A picture may be found damaged only when it is decoded. Under ``on_bad_sample="skip"`` training then uses the next
    frame, and evaluation a black picture, so that no frame is counted twice; both are logged.

    Args:
        frames: the keyframes, all of whose pictures exist.
        files: of each frame the files of its pictures.
        reading: how they are read.
        source: for messages.
        identity: a hash of everything that is read.

    Raises:
        DataError: there is nothing to learn from, or to measure.
    """

    aspect_ratios: Sequence[float] | None = None

    def __init__(
        self,
        frames: Sequence[Frame],
        files: Sequence[tuple[Path, ...]],
        reading: FrameReading,
        source: str,
        identity: str,
    ) -> None:
        self.reading, self.source, self._identity = reading, source, identity
        self.class_names = reading.class_names
        self.frames, self._files = list(frames), list(files)
        self._labels = [self._labels_of(frame) for frame in self.frames]
        self._learnt = [self._learnt_rows(*pair) for pair in zip(self.frames, self._labels, strict=True)]
        self._order = list(range(len(self.frames)))
        if reading.train:
            self._order = self._to_learn()
        self._images: dict[int, tuple[Tensor, NDArray[np.float64]]] = {}
        self.bad_reads: list[str] = []

    def __len__(self) -> int:
        """Return the number of frames of an epoch."""
        return len(self._order)

    def __getitem__(self, key: tuple[int, int]) -> MultiviewSample:
        """Return the frame for ``(epoch, index)``.

        Raises:
            DataError: a picture cannot be decoded under ``on_bad_sample="error"``, or none of any frame can.
        """
        epoch, index = key
        for position in range(index, index + len(self)):
            number = self._order[position % len(self)]
            found = self._pictures(number)
            if found is not None:
                return self._sample(number, *found, sample_generator(self.reading.seed, epoch, index))
        raise DataError(f"{self.source}: of none of its {len(self)} frames can all pictures be decoded")

    def fingerprint(self) -> str:
        """Return a hash of the annotations and of the names and contents of the pictures."""
        return self._identity

    def class_counts(self) -> ClassCounts:
        """Return the number of boxes of each class, in training of those that are learnt."""
        counts = Counter[int]()
        for labels, learnt in zip(self._labels, self._learnt, strict=True):
            counts.update((labels[learnt] if self.reading.train else labels).tolist())
        return ClassCounts(tuple(counts[label] for label in range(len(self.class_names))), "object")

    def _labels_of(self, frame: Frame) -> NDArray[np.int64]:
        """Return the label of each box, ``RACK``, or ``_NONE_OF_THEM``."""
        known = {name: label for label, name in enumerate(self.class_names)} | {BICYCLE_RACK: RACK}
        return np.array([known.get(name, _NONE_OF_THEM) for name in frame.names], np.int64)

    def _learnt_rows(self, frame: Frame, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which boxes are learnt: of known classes, with points inside, in range seen from above."""
        reading = self.reading
        x0, y0, _, x1, y1, _ = reading.point_range
        x, y = frame.boxes[:, 0], frame.boxes[:, 1]
        seen = frame.valid if reading.use_valid_flag else frame.lidar
        inside: NDArray[np.bool_] = (labels >= 0) & seen & (x > x0) & (x < x1) & (y > y0) & (y < y1)
        return inside

    def _to_learn(self) -> list[int]:
        """Return the frames of an epoch, and say what is not learnt."""
        found = [number for number, rows in enumerate(self._learnt) if rows.any()]
        if not found:
            raise DataError(
                f"{self.source}: no frame has a box to learn from: of {', '.join(self.class_names)}, with points "
                f"inside, within data.point_range={list(self.reading.point_range)}"
            )
        self._say_unlearnt(len(self.frames) - len(found))
        if not self.reading.class_balanced:
            return found
        use_valid = self.reading.use_valid_flag
        held = [
            {*self._labels[number][self.frames[number].valid if use_valid else slice(None)].tolist()}
            for number in found
        ]
        drawn = balanced_frames(held, len(self.class_names), self.reading.seed)
        return [found[number] for number in drawn]

    def _say_unlearnt(self, empty: int) -> None:
        known = sum(int((labels >= 0).sum()) for labels in self._labels)
        learnt = sum(int(rows.sum()) for rows in self._learnt)
        if learnt < known:
            tell_once(
                f"{self.source}: {learnt} of {known} boxes are trained on, the others have no point inside or lie out "
                f"of data.point_range={list(self.reading.point_range)}; metrics leave out only those without a point"
            )
        if empty:
            tell_once(f"{self.source}: frames without a box to learn from, not trained on: {empty}")

    def _sample(
        self, number: int, images: Tensor, scales: NDArray[np.float64], generator: torch.Generator
    ) -> MultiviewSample:
        frame, rows, reading = self.frames[number], self._learnt[number], self.reading
        boxes = frame.boxes[rows]
        if reading.unknown_velocity == "zero":
            boxes[:, 7:] = np.nan_to_num(boxes[:, 7:])
        projections = np.stack([shot.to_pixels for shot in frame.shots])
        projections[:, :2] *= scales[:, :, None]
        truth = reading.with_truth and not reading.train
        return MultiviewSample(
            images=images,
            projections=torch.from_numpy(projections),
            boxes=torch.from_numpy(boxes).float(),
            labels=torch.from_numpy(self._labels[number][rows]),
            frame_id=number,
            token=frame.token,
            rig_to_ego=torch.from_numpy(frame.rig_to_ego),
            ego_to_global=torch.from_numpy(frame.ego_to_global),
            truth=self._truth(number) if truth else None,
            chances=draw_chances(generator, len(frame.shots)) if reading.train else None,
        )

    def _truth(self, number: int) -> Detection3dTruth:
        frame, labels = self.frames[number], self._labels[number]
        rows = labels != _NONE_OF_THEM
        return Detection3dTruth(
            boxes=torch.from_numpy(frame.boxes[rows]),
            labels=torch.from_numpy(labels[rows]),
            attributes=torch.from_numpy(frame.attributes[rows]),
            points=torch.from_numpy(frame.points[rows]),
            counts=(int(rows.sum()),),
        )

    def _pictures(self, number: int) -> tuple[Tensor, NDArray[np.float64]] | None:
        """Return a frame's pictures (N, 3, h, w) and their scales (N, 2) in x and y; None where training skips it."""
        if number in self._images:
            return self._images[number]
        height, width = self.reading.image_size
        files = self._files[number]
        images = torch.zeros(len(files), 3, height, width, dtype=torch.uint8)
        scales = np.ones((len(files), 2))
        for row, file in enumerate(files):
            try:
                images[row], scales[row] = read_picture(file, (height, width))
            except ImageFileError as error:
                self._bad_read(file, error)
                if self.reading.train:
                    return None
        if self.reading.cache_images:
            self._images[number] = images, scales
        return images, scales

    def _bad_read(self, file: Path, error: Exception) -> None:
        if self.reading.on_bad_sample == "error":
            raise DataError(
                f"{file} cannot be decoded ({error}); replace the file, or set data.on_bad_sample=skip"
            ) from error
        if str(file) not in self.bad_reads:
            self.bad_reads.append(str(file))
            what = "the next frame replaces its frame" if self.reading.train else "evaluated as black"
            log.warning("%s cannot be decoded (%s); %s (%d so far)", file, error, what, len(self.bad_reads))


def read_picture(file: Path, size: tuple[int, int]) -> tuple[Tensor, tuple[float, float]]:
    """Return a picture (3, h, w) uint8 of a size, and by how much it is scaled in x and y.

    JPEGs are decoded at a reduced size where that suffices, and then resized.

    Raises:
        ImageFileError: the file cannot be read.
    """
    from PIL.Image import Resampling
    from torchvision.transforms.v2.functional import pil_to_tensor

    height, width = size
    stored_height, stored_width = read_image_header(file).size
    image = read_image(file, at_least=size)
    scale = width / stored_width, height / stored_height
    if image.size != (width, height):
        image = image.resize((width, height), Resampling.BILINEAR)
    return pil_to_tensor(image), scale
