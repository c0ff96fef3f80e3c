"""``data=nuscenes``: keyframes of nuScenes, by its own tables or by MMDetection3D's infos."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from lab.checking import check_file
from lab.data.images.annotations import BadSamplePolicy, tell_once
from lab.data.images.opening import read_image_header
from lab.data.json_files import read_json
from lab.data.nuscenes_names import ATTRIBUTES, CAMERAS, CLASSES
from lab.errors import ConfigError, DataError
from lab.ranges import Len, MinLen, Pixels, Word
from lab.structures import KeyedDataset
from lab.structures.detection3d import Detection3dSpec
from lab.tasks.detection3d.data.module import MultiviewModule
from lab.tasks.detection3d.data.nuscenes.dataset import FrameDataset, FrameReading, UnknownVelocity
from lab.tasks.detection3d.data.nuscenes.frames import BoxOrder, Frame, FrameSource, in_our_order
from lab.tasks.detection3d.data.nuscenes.infos import SUFFIXES, read_infos
from lab.tasks.detection3d.data.nuscenes.names import BICYCLE_RACK
from lab.tasks.detection3d.data.nuscenes.pictures import PictureFolders, hash_of
from lab.tasks.detection3d.data.nuscenes.stored import LARGE, kept
from lab.tasks.detection3d.data.nuscenes.tables import frames_of, is_tables, read_scenes

MAX_NAMES = 5


@dataclass(frozen=True)
class FoundFrames:
    """The frames of a source that can be used.

    Attributes:
        source: what was read.
        frames: those whose pictures are there.
        files: of each frame the files of its pictures.
    """

    source: FrameSource
    frames: list[Frame]
    files: list[tuple[Path, ...]]


@dataclass(eq=False)
class NuScenesDataModule(MultiviewModule):
    """``data=nuscenes``.

    A split is a file of infos (``nuscenes_infos_train.pkl``, also ``.json``), or a split of the tables
    (``v1.0-trainval/val``: the folder of the tables, and the name of an official split; without a name all scenes),
    relative to ``root``.

    Args:
        root: the folder with ``samples`` and the tables or infos.
        train: the split to train on.
        val: the one to validate on.
        test: the one to test on; None: that of the validation.
        classes: the names of the classes; boxes of others are left out.
        cameras: in this order.
        image_size: (height, width) to which pictures are resized; None: as the first one is stored.
        box_order: of length and width in infos: ``"lwh"`` (MMDetection3D 1.x), ``"wlh"`` (0.x); ``"auto"``: it is told
            by the vehicles, which are longer than wide.
        use_valid_flag: train on boxes with any lidar or radar point inside, not on those alone with a lidar point.
        unknown_velocity: what a velocity that is not known is trained as: 0 (as published), or as unknown.
        class_balanced: frames of rare classes stand more often in an epoch (CBGS).
        on_bad_sample: ``"skip"`` leaves out what cannot be used and reports it; ``"error"`` stops.
        cache_images: keep decoded pictures in memory, in each worker (small datasets only).

    Raises:
        ConfigError: a class or a camera is named twice.
    """

    root: Word
    train: Word = "v1.0-trainval/train"
    val: Word = "v1.0-trainval/val"
    _: KW_ONLY
    test: Word | None = None
    classes: Annotated[Sequence[str], MinLen(1)] = CLASSES
    cameras: Annotated[Sequence[str], MinLen(1)] = CAMERAS
    image_size: Annotated[Sequence[Pixels], Len(2, 2)] | None = None
    box_order: BoxOrder = "auto"
    use_valid_flag: bool = True
    unknown_velocity: UnknownVelocity = "zero"
    class_balanced: bool = False
    on_bad_sample: BadSamplePolicy = "skip"
    cache_images: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, names in (("classes", self.classes), ("cameras", self.cameras)):
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise ConfigError(f"data.{key}: {', '.join(twice)} stands there twice")
        self._found: dict[Path, FoundFrames] = {}
        self._scenes: dict[Path, dict[str, FrameSource]] = {}

    @property
    def folder(self) -> Path:
        """The dataset's folder."""
        return Path(self.root)

    @property
    def spec(self) -> Detection3dSpec:
        """Classes, attributes, cameras, the padded size of the pictures and the range."""
        return Detection3dSpec(
            input_shape=self.padded_shape(*self.size),
            class_names=tuple(self.classes),
            camera_names=tuple(self.cameras),
            attribute_names=ATTRIBUTES,
            point_range=tuple(self.point_range),
        )

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of all pictures."""
        return self.image_size_of(self.found(self.folder / self.train))

    def image_size_of(self, found: FoundFrames) -> tuple[int, int]:
        """Return (height, width) of the pictures of some frames: ``image_size``, or that of the first picture.

        Raises:
            DataError: the first picture cannot be read.
        """
        if self.image_size is not None:
            return self.image_size[0], self.image_size[1]
        file = found.files[0][0]
        header = read_image_header(file)
        if header.problem:
            raise DataError(f"{file}: {header.problem}; set data.image_size=[900,1600] to go on without it")
        return header.size

    def found(self, place: Path) -> FoundFrames:
        """Return the frames of a file of infos or of a split of the tables, read once.

        Raises:
            DataError: it is none, nothing of it can be used, or something cannot under ``on_bad_sample="error"``.
        """
        if place not in self._found:
            source = self._read(place)
            in_our_order(source, "lwh" if place.suffix not in SUFFIXES else self.box_order)
            self._found[place] = self._with_pictures(source, place)
        return self._found[place]

    def build(self, split: str) -> FrameDataset:
        """Return the dataset of a split."""
        name = {"train": self.train, "val": self.val, "test": self.test or self.val}[split]
        found = self.found(self.folder / name)
        if not any(frame.annotated for frame in found.frames):
            raise DataError(
                f"{found.source.name}: it has no annotations to {'train on' if split == 'train' else 'measure by'}; "
                "its frames can be predicted: stage=predict input=FILE"
            )
        return self._dataset(found, self.size, split == "train")

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return frames to predict, whose annotations are not needed.

        Args:
            paths: a file of infos, a folder of tables, all of whose frames are taken, or what ``FrameFiles`` reads.
        """
        place = paths[0]
        if not (is_tables(place) or (place.suffix in SUFFIXES and not _is_of_frames(place))):
            return super().build_inputs(paths)
        if len(paths) > 1:
            raise ConfigError(
                f"input={', '.join(map(str, paths))}: expected one file of infos, or one folder of tables"
            )
        followed = self.followed
        if followed is not None and followed.camera_names != tuple(self.cameras):
            raise ConfigError(
                f"data.cameras={list(self.cameras)}: the checkpoint was trained on {list(followed.camera_names)}"
            )
        found = self.found(place)
        return self._dataset(found, self.image_size_of(found), train=False, with_truth=False)

    def rows_read(self) -> dict[str, dict[str, Any]]:
        """Return the numbers of frames read, used and left out of each source, by its name."""
        reports = {}
        for found in self._found.values():
            left_out = {why: len(names) for why, names in found.source.left_out.items()}
            frames = sum(count for why, count in left_out.items() if why.startswith("frames"))
            used = len(found.frames)
            reports[found.source.name] = {"rows": used + frames, "used": used, "left_out": left_out}
        return reports

    def _read(self, place: Path) -> FrameSource:
        if place.suffix in SUFFIXES:
            check_file(place, may_be_empty=False)
            return replace(self._kept([place], lambda: {"": read_infos(place, self.cameras)})[""], name=str(place))
        for folder, split in ((place, None), (place.parent, place.name)):
            if is_tables(folder):
                return frames_of(self._scenes_of(folder), folder, split)
        what = "a folder" if place.is_dir() else "not there" if not place.exists() else "a file of another kind"
        raise DataError(
            f"{place}: {what}; expected MMDetection3D's infos ({', '.join(SUFFIXES)}), or a folder of nuScenes' tables "
            "and the name of a split, as v1.0-trainval/val"
        )

    def _scenes_of(self, folder: Path) -> dict[str, FrameSource]:
        """Return the frames of tables, read once for all splits."""
        if folder not in self._scenes:
            files = sorted(folder.glob("*.json"))
            self._scenes[folder] = self._kept(files, lambda: read_scenes(folder, self.cameras))
        return self._scenes[folder]

    def _kept(self, files: list[Path], read: Callable[[], dict[str, FrameSource]]) -> dict[str, FrameSource]:
        size = sum(file.stat().st_size for file in files)
        return kept(hash_of(files) if size >= LARGE else "", size, self.cameras, read)

    def _with_pictures(self, source: FrameSource, place: Path) -> FoundFrames:
        folders = PictureFolders(self.folder, place.parent)
        frames, files = [], []
        for frame in source.frames:
            paths = [folders.find(shot.camera, shot.file) for shot in frame.shots]
            missing = [shot.camera for shot, path in zip(frame.shots, paths, strict=True) if path is None]
            if missing:
                what = "all their pictures" if len(missing) == len(paths) else f"the picture of {', '.join(missing)}"
                source.left_out[f"frames without {what}"].append(frame.token)
                continue
            frames.append(frame)
            files.append(tuple(path for path in paths if path is not None))
        self._say(source, len(frames))
        return FoundFrames(source, frames, files)

    def _say(self, source: FrameSource, usable: int) -> None:
        lines = [f"{why}: {len(names)} ({_some(names)})" for why, names in source.left_out.items()]
        if not usable:
            detail = f"; {lines[0]}" if lines else ""
            raise DataError(f"{source.name}: none of its frames can be used, with pictures below {self.folder}{detail}")
        if lines and self.on_bad_sample == "error":
            raise DataError(
                f"{source.name}: left out are {lines[0]}; mend them, or set data.on_bad_sample=skip to go on without"
            )
        for line in lines:
            tell_once(f"{source.name}: left out are {line}")
        names = [name for frame in source.frames for name in frame.names]
        if others := [name for name in names if name not in self.classes]:
            racks = "; bicycles in a bicycle rack are not measured" if BICYCLE_RACK in others else ""
            tell_once(f"{source.name}: boxes of other classes, left out: {len(others)} ({_some(others)}){racks}")
        if unknown := sum(int((frame.boxes[:, 7] != frame.boxes[:, 7]).sum()) for frame in source.frames):
            trained = "trained as 0" if self.unknown_velocity == "zero" else "not trained"
            tell_once(
                f"{source.name}: velocities that are not known: {unknown} of {len(names)}, {trained}, not measured"
            )

    def _dataset(self, found: FoundFrames, size: tuple[int, int], train: bool, with_truth: bool = True) -> FrameDataset:
        reading = FrameReading(
            class_names=tuple(self.classes),
            point_range=tuple(self.point_range),
            image_size=size,
            train=train,
            use_valid_flag=self.use_valid_flag,
            unknown_velocity=self.unknown_velocity,
            class_balanced=self.class_balanced and train,
            on_bad_sample=self.on_bad_sample,
            seed=self.seed,
            cache_images=self.cache_images,
            with_truth=with_truth,
        )
        return FrameDataset(found.frames, found.files, reading, found.source.name, self._identity(found))

    def _identity(self, found: FoundFrames) -> str:
        """Return a hash of the annotations and of the names and contents of the pictures."""
        place = next(path for path, of in self._found.items() if of is found)
        sources = (
            [place]
            if place.suffix in SUFFIXES
            else sorted((place if is_tables(place) else place.parent).glob("*.json"))
        )
        pictures = [file for files in found.files for file in files]
        return hashlib.sha256(f"{hash_of(sources)} {hash_of(pictures)}".encode()).hexdigest()


def _is_of_frames(path: Path) -> bool:
    """Return whether a json file is one that ``FrameFiles`` reads."""
    content = read_json(path) if path.suffix == ".json" else None
    return isinstance(content, dict) and "frames" in content


def _some(names: Sequence[str]) -> str:
    counts = Counter(names)
    shown = [f"{name} x{count}" if count > 1 else name for name, count in counts.most_common(MAX_NAMES)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
