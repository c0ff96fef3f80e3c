"""Scenes without pictures: a street and what stands on it, without overlap, each a function of (seed, epoch, index)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.data.nuscenes_names import CLASSES
from lab.data.scenes3d.catalogue import KINDS, SCALES, VARIANTS, kind_shares, variant
from lab.data.scenes3d.footprints import touching
from lab.data.scenes3d.rig import EGO_CENTRE, EGO_SIZE, rig_to_ego, wrap
from lab.data.scenes3d.street import Street, draw_place, draw_street, to_ego
from lab.data.scenes3d.surroundings import StreetPiece, draw_surroundings, footprints
from lab.geometry.mesh import Floats

GAP = 0.3
"""Metres between any two objects, at least."""
_TRIES = 40  # places that are tried for an object before it is left out


@dataclass(frozen=True)
class StreetLayout:
    """What stands on a street; n objects.

    Attributes:
        street: see there.
        pieces: what is there besides objects.
        kinds: (n,) int64 index into ``KINDS``.
        variants: (n,) int64 number of the mesh.
        scales: (n,) float64 of the mesh.
        boxes: (n, 9) float64 in the ego frame: (x, y, z, l, w, h, yaw, vx, vy); z of the middle.
        labels: (n,) int64 index into the classes that were asked for.
        attributes: (n,) int64 index into ``ATTRIBUTES``, or -1.
        tints: (n, 3) float64 RGB that multiplies the colours.
        ego_to_global: (4, 4) float64.
        sun: (3,) towards the sun.
        wanted: how many objects were drawn; n where all found a place.
    """

    street: Street
    pieces: tuple[StreetPiece, ...]
    kinds: NDArray[np.int64]
    variants: NDArray[np.int64]
    scales: Floats
    boxes: Floats
    labels: NDArray[np.int64]
    attributes: NDArray[np.int64]
    tints: Floats
    ego_to_global: Floats
    sun: Floats
    wanted: int


def draw_layout(
    random: np.random.Generator,
    objects: tuple[int, int],
    point_range: tuple[float, ...],
    class_names: tuple[str, ...] = CLASSES,
) -> StreetLayout:
    """Return a scene.

    The car with the cameras and the objects do not touch: their footprints stay ``GAP`` apart. An object that finds no
    free place in 40 tries is left out, which ``wanted`` tells.

    Args:
        random: the scene is a function of it.
        objects: the fewest and the most that are drawn.
        point_range: (x0, y0, z0, x1, y1, z1) in the frame of the rig: where the middles of the objects lie.
        class_names: which classes there are.
    """
    street = draw_street(random)
    pieces = draw_surroundings(street, random)
    wanted = int(random.integers(objects[0], objects[1] + 1))
    kinds = random.choice(len(KINDS), size=wanted, p=kind_shares(class_names))
    # Long objects come first: later there is no room for them.
    kinds = kinds[np.argsort([-variant(int(kind), 0).size[0] for kind in kinds], kind="stable")]
    taken = np.concatenate([[[EGO_CENTRE, 0.0, *EGO_SIZE, 0.0]], footprints(pieces)])
    rows, numbers, chosen, scales, tints = [], [], [], [], []
    for kind in kinds.tolist():
        number, scale = int(random.integers(VARIANTS)), float(random.uniform(*SCALES))
        tint = random.uniform(0.75, 1.1, size=3) * random.uniform(0.8, 1.1)
        box = _place(kind, np.array(variant(kind, number).size) * scale, street, taken, point_range, random)
        if box is None:
            continue
        taken = np.concatenate([taken, box[None, [0, 1, 3, 4, 6]]])
        rows.append(box)
        numbers.append(number)
        chosen.append(kind)
        scales.append(scale)
        tints.append(tint)
    names = [CLASSES[KINDS[kind].label] for kind in chosen]
    return StreetLayout(
        street=street,
        pieces=pieces,
        kinds=np.array(chosen, dtype=np.int64),
        variants=np.array(numbers, dtype=np.int64),
        scales=np.array(scales),
        boxes=np.array(rows).reshape(-1, 9),
        labels=np.array([class_names.index(name) for name in names], dtype=np.int64),
        attributes=np.array([KINDS[kind].attribute for kind in chosen], dtype=np.int64),
        tints=np.array(tints).reshape(-1, 3),
        ego_to_global=_somewhere(random),
        sun=_sun(random),
        wanted=wanted,
    )


def _place(
    kind: int,
    size: Floats,
    street: Street,
    taken: Floats,
    point_range: tuple[float, ...],
    random: np.random.Generator,
) -> Floats | None:
    """Return the box (9,) of an object in the ego frame at a free place, or None."""
    length, width, height = size.tolist()
    zones, (slowest, fastest) = KINDS[kind].zones, KINDS[kind].speeds
    zone = zones[int(random.integers(len(zones)))]
    reach = max(abs(point_range[1]), abs(point_range[4])) + 1.0
    low, high = np.array(point_range[:2]), np.array(point_range[3:5])
    speed = random.uniform(slowest, fastest)
    for _ in range(_TRIES):
        x, y, yaw, ground = to_ego(street, draw_place(zone, street, reach, (length, width), random))
        in_rig = np.array([-y, x - rig_to_ego()[0, 3]])
        if not ((in_rig > low) & (in_rig < high)).all():
            continue
        if touching(np.array([x, y, length, width, yaw]), taken, GAP).any():
            continue
        velocity = speed * np.cos(yaw), speed * np.sin(yaw)
        return np.array([x, y, ground + height / 2, length, width, height, wrap(np.array(yaw)), *velocity])
    return None


def _somewhere(random: np.random.Generator) -> Floats:
    """Return a pose on the ground within a square of 2 km, heading anywhere."""
    angle = random.uniform(-np.pi, np.pi)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    pose[:2, 3] = random.uniform(0.0, 2000.0, size=2)
    return pose


def _sun(random: np.random.Generator) -> Floats:
    """Return a direction 25 to 75 degrees above the horizon."""
    height, around = np.radians(random.uniform(25.0, 75.0)), random.uniform(-np.pi, np.pi)
    return np.array([np.cos(height) * np.cos(around), np.cos(height) * np.sin(around), np.sin(height)])
