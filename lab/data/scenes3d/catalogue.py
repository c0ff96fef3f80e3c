"""What stands on the street: kinds of objects, each with a program that builds its mesh from random measures.

A mesh faces x and stands on z = 0 with the middle of its bounding box above the origin, so the 3-D box of an object is
the bounding box of its mesh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lab.data.nuscenes_names import ATTRIBUTES, CLASSES
from lab.data.scenes3d import people, programs
from lab.data.scenes3d.parts import Program
from lab.geometry.bake import bake
from lab.geometry.script import Script
from lab.geometry.static_mesh import StaticMesh
from lab.geometry.transforms import transformed, translation

VARIANTS = 8
"""How many meshes of each kind there are; their measures differ."""
SCALES = (0.95, 1.05)
"""By how much an object is smaller or larger than its mesh."""


@dataclass(frozen=True)
class Kind:
    """Objects of a class that do the same.

    Attributes:
        label: the class, an index into ``CLASSES``.
        attribute: an index into ``ATTRIBUTES``, or -1.
        zones: where they stand, of ``lab.data.scenes3d.street.draw_place``.
        share: how often the kind occurs among those of its class.
        speeds: m/s, the slowest and the fastest.
        program: returns what builds a mesh, from random measures.
    """

    label: int
    attribute: int
    zones: tuple[str, ...]
    share: float
    speeds: tuple[float, float]
    program: Callable[[np.random.Generator], Program]


@dataclass(frozen=True)
class Variant:
    """One mesh of a kind.

    Attributes:
        size: (length, width, height), metres.
        mesh: see the module.
    """

    size: tuple[float, float, float]
    mesh: StaticMesh


def _kind(
    name: str,
    attribute: str | None,
    zones: tuple[str, ...],
    program: Callable[[np.random.Generator], Program],
    share: float = 1.0,
    speeds: tuple[float, float] = (0.0, 0.0),
) -> Kind:
    number = -1 if attribute is None else ATTRIBUTES.index(attribute)
    return Kind(CLASSES.index(name), number, zones, share, speeds, program)


_FAST, _RIDING, _WALKING = (6.0, 10.0), (3.0, 5.0), (0.9, 1.7)
_LANE, _PARKING, _WORKS, _PAVEMENT = ("lane",), ("parking",), ("works",), ("pavement",)

KINDS = (
    _kind("car", "vehicle.moving", _LANE, programs.car, 1.0, _FAST),
    _kind("car", "vehicle.parked", _PARKING, programs.car, 1.0),
    _kind("truck", "vehicle.moving", _LANE, programs.truck, 1.0, _FAST),
    _kind("truck", "vehicle.parked", _PARKING, programs.truck, 1.0),
    _kind("construction_vehicle", "vehicle.parked", ("works", "parking"), programs.excavator),
    _kind("bus", "vehicle.moving", _LANE, programs.bus, 0.7, _FAST),
    _kind("bus", "vehicle.stopped", _PARKING, programs.bus, 0.3),
    _kind("trailer", "vehicle.parked", _PARKING, programs.trailer, 0.7),
    _kind("trailer", "vehicle.moving", _LANE, programs.trailer, 0.3, _FAST),
    _kind("barrier", None, ("works", "pavement"), programs.barrier),
    _kind("motorcycle", "cycle.with_rider", _LANE, people.motorcycle_ridden, 0.5, _FAST),
    _kind("motorcycle", "cycle.without_rider", ("parking", "pavement"), people.motorcycle, 0.5),
    _kind("bicycle", "cycle.with_rider", _LANE, people.bicycle_ridden, 0.5, _RIDING),
    _kind("bicycle", "cycle.without_rider", ("parking", "pavement"), people.bicycle, 0.5),
    _kind("pedestrian", "pedestrian.moving", ("pavement", "walk"), people.pedestrian_walking, 0.5, _WALKING),
    _kind("pedestrian", "pedestrian.standing", ("pavement", "walk"), people.pedestrian_standing, 0.4),
    _kind("pedestrian", "pedestrian.sitting_lying_down", _PAVEMENT, people.pedestrian_sitting, 0.1),
    _kind("traffic_cone", None, ("works", "works", "pavement"), programs.traffic_cone),
)
CLASS_SHARES = {
    "car": 3.0,
    "truck": 1.3,
    "construction_vehicle": 1.0,
    "bus": 1.0,
    "trailer": 1.0,
    "barrier": 1.5,
    "motorcycle": 1.2,
    "bicycle": 1.2,
    "pedestrian": 2.5,
    "traffic_cone": 1.8,
}
"""How often each class occurs, relative to the others."""


def kind_shares(class_names: tuple[str, ...]) -> NDArray[np.float64]:
    """Return how often each of ``KINDS`` occurs in scenes of these classes; their sum is 1."""
    totals = np.zeros(len(CLASSES))
    for kind in KINDS:
        totals[kind.label] += kind.share
    shares = np.array(
        [
            CLASS_SHARES[name] * kind.share / totals[kind.label] if name in class_names else 0.0
            for kind in KINDS
            for name in (CLASSES[kind.label],)
        ]
    )
    result: NDArray[np.float64] = shares / shares.sum()
    return result


@cache
def variant(kind: int, number: int) -> Variant:
    """Return a variant of one of ``KINDS``; it is built once in each process."""
    return make_variant(KINDS[kind].program(np.random.default_rng([kind, number])))


def make_variant(program: Program) -> Variant:
    """Return the mesh of a program, moved so that its bounding box stands in the middle."""
    mesh = Script(steps=tuple(program)).run()
    low, high = mesh.positions.min(axis=0), mesh.positions.max(axis=0)
    middle = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    length, width, height = (high - low).tolist()
    return Variant((length, width, height), bake(transformed(mesh, translation(-middle))))
