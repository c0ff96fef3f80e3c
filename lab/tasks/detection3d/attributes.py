"""What an object does, as detectors without a head for it say it: by class and speed.

The rule is that of MMDetection3D, whose users' results on nuScenes it underlies: above 0.2 m/s vehicles move and cycles
have a rider; what stands still has the most frequent attribute of its class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.structures.detection3d import NO_ATTRIBUTE
from lab.tasks.detection3d.poses import IntArray, RealArray

MOVES_ABOVE = 0.2
"""m/s; what is slower stands."""
_RULES = {
    "car": ("vehicle.moving", "vehicle.parked"),
    "truck": ("vehicle.moving", "vehicle.parked"),
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "trailer": ("vehicle.moving", "vehicle.parked"),
    "construction_vehicle": ("vehicle.moving", "vehicle.parked"),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    "motorcycle": ("cycle.with_rider", "cycle.without_rider"),
    "bicycle": ("cycle.with_rider", "cycle.without_rider"),
}
"""The attribute of what moves and of what stands, by class; other classes have none."""


def attributes_of(
    labels: IntArray, velocities: RealArray, classes: Sequence[str], attributes: Sequence[str]
) -> IntArray:
    """Return the attribute (n,) of boxes, an index into ``attributes`` or ``NO_ATTRIBUTE``.

    Args:
        labels: (n,) indices into ``classes``.
        velocities: (n, 2) m/s; NaN stands still.
        classes: the K names.
        attributes: the names; a rule's attribute that is not among them is none.
    """
    known = {name: number for number, name in enumerate(attributes)}
    rules = [_RULES.get(name, ("", "")) for name in classes]
    table = np.array([[known.get(name, NO_ATTRIBUTE) for name in rule] for rule in rules], dtype=np.int64)
    stands = ~(np.sqrt((velocities**2).sum(1)) > MOVES_ABOVE)
    found: IntArray = table.reshape(-1, 2)[labels, stands.astype(np.int64)]
    return found
