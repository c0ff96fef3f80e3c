"""The plan of a street: lanes, parking strips, pavements, a crossing, and where each kind of object may stand.

The frame of the street: s along it, t to the left, metres; the origin is on the centre line, beside the car with the
cameras. Traffic keeps to the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

Footing: TypeAlias = tuple[float, float]

LANE = 3.5
PARKING = 2.4
PAVEMENT = 3.6
REACH = 60.0
"""How far the street goes on in each direction; beyond is nothing but ground."""
_CLEAR = 1.0  # metres between what stands and the roadway of the crossing


@dataclass(frozen=True)
class Street:
    """A straight street and perhaps one that crosses it at a right angle.

    Attributes:
        lanes: in each direction.
        crossing: s of the middle of the street that crosses (of one lane in each direction), or None.
        ego: (s, t, yaw) of the car with the cameras: 0, the middle of a lane and nearly its direction.
    """

    lanes: int
    crossing: float | None
    ego: tuple[float, float, float]

    @property
    def curb(self) -> float:
        """|t| of the edge between the parking strips and the pavements."""
        return LANE * self.lanes + PARKING

    @property
    def front(self) -> float:
        """|t| of the fronts of the houses."""
        return self.curb + PAVEMENT


class Spot(NamedTuple):
    """A place for an object in the frame of the street, with the direction that it faces, radians."""

    s: float
    t: float
    yaw: float
    height: float = 0.0


def draw_street(random: np.random.Generator) -> Street:
    """Return a street with one or two lanes in each direction; every other one has a crossing."""
    lanes = int(random.integers(1, 3))
    crossing = float(random.uniform(-25, 30)) if random.random() < 0.5 else None
    lane = int(random.integers(lanes))
    ego = (0.0, -LANE * (lane + 0.5) + random.uniform(-0.4, 0.4), random.normal(0.0, 0.04))
    return Street(lanes, crossing, ego)


def draw_place(zone: str, street: Street, reach: float, size: Footing, random: np.random.Generator) -> Spot:
    """Return a place in a zone; it may be taken.

    Args:
        zone: ``lane``, ``parking``, ``pavement``, ``walk`` (on the roadway, on foot) or ``works`` (cones and barriers).
        street: see there.
        reach: largest |s|.
        size: (length, width) of what is placed.
        random: where it is.
    """
    return {
        "lane": _lane,
        "parking": _parking,
        "pavement": _pavement,
        "walk": _walk,
        "works": _works,
    }[zone](street, reach, size, random)


def _lane(street: Street, reach: float, size: Footing, random: np.random.Generator) -> Spot:
    """In a lane of the street or of the crossing, in its direction."""
    along = random.uniform(-reach, reach)
    side = 1.0 if random.random() < 0.5 else -1.0
    lean = random.normal(0.0, 0.03)
    aside = random.uniform(-0.3, 0.3)
    if street.crossing is not None and random.random() < 0.3:
        # Seen along the crossing, its right-hand lane is at larger s when it leads to larger t.
        return Spot(street.crossing + side * LANE / 2 + aside, along, side * np.pi / 2 + lean)
    lane = int(random.integers(street.lanes))
    return Spot(along, -side * LANE * (lane + 0.5) + aside, (0.0 if side > 0 else np.pi) + lean)


def _parking(street: Street, reach: float, size: Footing, random: np.random.Generator) -> Spot:
    """Beside the lanes, along the curb, in either direction."""
    side = 1.0 if random.random() < 0.5 else -1.0
    along = _beside_crossing(street, reach, size[0] / 2, random)
    against = random.random() < 0.2
    yaw = (0.0 if (side < 0) != against else np.pi) + random.normal(0.0, 0.04)
    room = max(PARKING - size[1], 0.0) / 2
    return Spot(along, side * (street.curb - PARKING / 2 + random.uniform(-room, room)), yaw)


def _pavement(street: Street, reach: float, size: Footing, random: np.random.Generator) -> Spot:
    """On a pavement, facing anywhere."""
    side = 1.0 if random.random() < 0.5 else -1.0
    along = _beside_crossing(street, reach, 1.0, random)
    across = street.curb + random.uniform(0.6, PAVEMENT - 0.6)
    return Spot(along, side * across, random.uniform(-np.pi, np.pi), CURB_HEIGHT)


def _walk(street: Street, reach: float, size: Footing, random: np.random.Generator) -> Spot:
    """On the roadway, crossing it."""
    across = random.uniform(-street.curb + 0.5, street.curb - 0.5)
    side = 1.0 if random.random() < 0.5 else -1.0
    return Spot(random.uniform(-reach, reach), across, side * np.pi / 2 + random.normal(0.0, 0.2))


def _works(street: Street, reach: float, size: Footing, random: np.random.Generator) -> Spot:
    """In the outer lane or on the parking strip, roughly square to the street."""
    side = 1.0 if random.random() < 0.5 else -1.0
    across = street.curb - random.uniform(0.5, PARKING + 0.6 * LANE)
    yaw = random.choice([0.0, np.pi / 2, np.pi, -np.pi / 2]) + random.normal(0.0, 0.15)
    return Spot(_beside_crossing(street, reach, size[0] / 2, random), side * across, float(yaw))


def _beside_crossing(street: Street, reach: float, half: float, random: np.random.Generator) -> float:
    """Return s that keeps an object off the crossing street."""
    along = random.uniform(-reach, reach)
    if street.crossing is None:
        return float(along)
    near = LANE + _CLEAR + half
    gap = along - street.crossing
    return float(street.crossing + np.copysign(near, gap) if abs(gap) < near else along)


CURB_HEIGHT = 0.12
"""How much higher the pavements are than the roadway."""


def to_ego(street: Street, place: Spot) -> Spot:
    """Return a place in the ego frame."""
    s, t, yaw = street.ego
    cosine, sine = np.cos(yaw), np.sin(yaw)
    along, across = place.s - s, place.t - t
    return Spot(
        float(cosine * along + sine * across), float(cosine * across - sine * along), place.yaw - yaw, place.height
    )
