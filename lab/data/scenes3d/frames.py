"""Street scenes with their pictures: ``StreetScenes`` draws, renders and labels them.

Each scene is a function of (seed, split, epoch, index). Training scenes differ from epoch to epoch unless they repeat;
those of ``val`` and ``test`` ignore the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lab.checking import check_choice
from lab.data.nuscenes_names import CLASSES
from lab.data.scenes3d.catalogue import variant
from lab.data.scenes3d.layout import StreetLayout, draw_layout
from lab.data.scenes3d.names import SPLITS
from lab.data.scenes3d.rig import MOUNTS, cameras, turn
from lab.data.scenes3d.street import Spot
from lab.data.scenes3d.surroundings import category, piece_mesh
from lab.errors import ConfigError
from lab.geometry.mesh import Floats
from lab.geometry.render.rendering import render_all
from lab.geometry.render.scene import NOTHING, Instance, Light, Scene

VERSION = 1
"""Raised by a change of what scenes or pictures look like."""


@dataclass(frozen=True)
class StreetOptions:
    """What scenes there are and how they are pictured.

    Attributes:
        height: of the pictures, pixels.
        width: of the pictures, pixels.
        min_objects: fewest objects that are drawn for a scene.
        max_objects: most objects that are drawn for a scene.
        point_range: (x0, y0, z0, x1, y1, z1) in the frame of the rig: where the middles of objects lie.
        class_names: which classes there are, of ``CLASSES``.
        min_pixels: an object is annotated if so many of its pixels are visible: for pictures of one camera in that
            picture, for frames in all of them together.
        samples: the colour of a pixel is the mean over a grid of so many rays squared; labels are by one.
        black: all pictures are black: what is found then follows from where objects usually are.
        repeat: every epoch has the same training scenes.
        seed: chooses another set of training scenes.
    """

    height: int = 96
    width: int = 160
    min_objects: int = 6
    max_objects: int = 14
    point_range: tuple[float, ...] = (-20.0, -20.0, -3.0, 20.0, 20.0, 1.0)
    class_names: tuple[str, ...] = CLASSES
    min_pixels: int = 12
    samples: int = 1
    black: bool = False
    repeat: bool = False
    seed: int = 0


@dataclass(frozen=True)
class StreetFrame:
    """A scene with the pictures of some cameras; n objects, N cameras.

    Attributes:
        index: of the scene in its split.
        layout: what stands where.
        images: (N, h, w, 3) uint8 RGB.
        instances: (N, h, w) int16: the object of each pixel, 0..n-1, or -1.
        categories: (N, h, w) int16: the label of each pixel: 0..K-1 of an object, K + its place in ``STUFF_NAMES``
            of everything else.
        boxes: (N, n, 4) float32 xyxy pixels around what is visible of each object; zeros where nothing is.
        pixels: (N, n) int64 visible pixels.
    """

    index: int
    layout: StreetLayout
    images: NDArray[np.uint8]
    instances: NDArray[np.int16]
    categories: NDArray[np.int16]
    boxes: NDArray[np.float32]
    pixels: NDArray[np.int64]


class StreetScenes(torch.utils.data.Dataset[StreetFrame]):
    """Scenes with pictures.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``. Those of ``val`` and ``test`` are the same for every seed.
        num_samples: scenes in an epoch.
        options: see there.
        one_camera: only one picture of each scene, those of its cameras in turns.

    Raises:
        ConfigError: for a split or classes that do not exist, or bounds that contradict each other.
    """

    def __init__(self, split: str, num_samples: int, options: StreetOptions, one_camera: bool = False) -> None:
        check_choice("scenes3d: split", split, SPLITS)
        if not options.class_names:
            raise ConfigError("data.class_names=[]: scenes need at least one class")
        for name in options.class_names:
            check_choice("data.class_names", name, CLASSES)
        if not 0 <= options.min_objects <= options.max_objects:
            raise ConfigError(
                f"data.min_objects={options.min_objects}: should be 0 to max_objects={options.max_objects}"
            )
        self.split, self.num_samples, self.options, self.one_camera = split, num_samples, options, one_camera

    def __len__(self) -> int:
        """Return the number of scenes of an epoch."""
        return self.num_samples

    @property
    def aspect_ratios(self) -> None:
        """None: all pictures have the same size."""
        return

    @property
    def evaluated(self) -> bool:
        """Whether the scenes are for an evaluation: those of ``val`` and ``test``."""
        return self.split != "train"

    @property
    def repeats(self) -> bool:
        """Whether every epoch has the same scenes."""
        return self.evaluated or self.options.repeat

    def fingerprint(self) -> str:
        """Return everything that the scenes depend on, in one line."""
        return f"scenes3d-v{VERSION}:{self.split},{self.num_samples},{self.one_camera},{self.options}"

    def random(self, key: tuple[int, int]) -> np.random.Generator:
        """Return the random numbers of the scene ``(epoch, index)``."""
        epoch, index = key
        if not 0 <= index < self.num_samples:
            raise IndexError(f"scenes3d: index {index} is outside of 0..{self.num_samples - 1}")
        seed = 0 if self.evaluated else self.options.seed
        return np.random.default_rng([seed, SPLITS.index(self.split), 0 if self.repeats else epoch, index])

    def layout(self, key: tuple[int, int]) -> StreetLayout:
        """Return the scene ``(epoch, index)`` without its pictures."""
        options = self.options
        objects = options.min_objects, options.max_objects
        return draw_layout(self.random(key), objects, options.point_range, options.class_names)

    def __getitem__(self, key: tuple[int, int]) -> StreetFrame:
        """Return the scene ``(epoch, index)`` with its pictures."""
        index = key[1]
        numbers = [index % len(MOUNTS)] if self.one_camera else range(len(MOUNTS))
        return picture(index, self.layout(key), self.options, numbers)


def picture(index: int, layout: StreetLayout, options: StreetOptions, numbers: Sequence[int]) -> StreetFrame:
    """Return a scene with the pictures of some cameras."""
    scene = scene_of(layout, len(options.class_names))
    rig = cameras(options.width, options.height)
    shots = render_all(scene, [rig[number] for number in numbers], options.samples)
    count = len(layout.labels)
    numbered = np.stack([shot.instances for shot in shots])
    labels = np.stack([shot.categories for shot in shots])
    return StreetFrame(
        index=index,
        layout=layout,
        images=np.stack([shot.color * np.uint8(not options.black) for shot in shots]),
        instances=np.where(numbered < count, numbered, NOTHING).astype(np.int16),
        categories=np.where(labels == NOTHING, category("sky", len(options.class_names)), labels).astype(np.int16),
        boxes=np.stack([shot.boxes[:count] for shot in shots]),
        pixels=np.stack([shot.pixels[:count] for shot in shots]),
    )


def scene_of(layout: StreetLayout, num_classes: int) -> Scene:
    """Return what is rendered: the objects first, in the order of the layout, then the surroundings."""
    instances = []
    for number, (kind, row) in enumerate(zip(layout.kinds.tolist(), layout.boxes.tolist(), strict=True)):
        x, y, z, _, _, height, yaw = row[:7]
        mesh = variant(kind, int(layout.variants[number])).mesh
        red, green, blue = layout.tints[number].tolist()
        pose = _pose(Spot(x, y, yaw, z - height / 2), float(layout.scales[number]))
        instances.append(Instance(mesh, pose, int(layout.labels[number]), (red, green, blue)))
    for piece in layout.pieces:
        instances.append(Instance(piece_mesh(piece.name), _pose(piece.spot), category(piece.stuff, num_classes)))
    x, y, z = layout.sun.tolist()
    return Scene(tuple(instances), (Light(direction=(x, y, z)),))


def _pose(spot: Spot, scale: float = 1.0) -> Floats:
    pose = np.eye(4)
    pose[:3, :3] = scale * turn(spot.yaw)
    pose[:3, 3] = spot.s, spot.t, spot.height
    return pose
