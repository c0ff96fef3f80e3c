"""What a street is made of besides objects: roadway, pavements, houses, trees, lamps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from lab.data.scenes3d import scenery
from lab.data.scenes3d.names import STUFF_NAMES
from lab.data.scenes3d.street import CURB_HEIGHT, LANE, PAVEMENT, REACH, Spot, Street, to_ego
from lab.geometry.bake import bake
from lab.geometry.mesh import Floats
from lab.geometry.script import Script
from lab.geometry.static_mesh import StaticMesh

HOUSES = 8
"""How many different houses there are."""
TREES = 4
_POST = 0.5  # metres: the side of the square that a tree or lamp keeps free


@dataclass(frozen=True)
class StreetPiece:
    """A part of the surroundings.

    Attributes:
        name: of the program in ``lab.data.scenes3d.scenery`` and its number.
        stuff: one of ``STUFF_NAMES``.
        spot: where it stands, in the ego frame.
        slim: whether it stands on the ground where objects could: a tree, a lamp.
    """

    name: tuple[str, int]
    stuff: str
    spot: Spot
    slim: bool = False


@cache
def piece_mesh(name: tuple[str, int]) -> StaticMesh:
    """Return the mesh of a piece; it is built once in each process."""
    word, number = name
    return bake(Script(steps=tuple(scenery.PROGRAMS[word](number))).run())


def footprints(pieces: tuple[StreetPiece, ...]) -> Floats:
    """Return the footprints (n, 5) of what objects must not touch."""
    rows = [(piece.spot.s, piece.spot.t, _POST, _POST, 0.0) for piece in pieces if piece.slim]
    return np.array(rows, dtype=np.float64).reshape(-1, 5)


def draw_surroundings(street: Street, random: np.random.Generator) -> tuple[StreetPiece, ...]:
    """Return the pieces of a street, in the ego frame."""
    pieces = [StreetPiece(("ground", 0), "vegetation", Spot(0.0, 0.0, 0.0, -0.05))]
    pieces.append(StreetPiece(("road", street.lanes), "road", Spot(0.0, 0.0, 0.0)))
    if street.crossing is not None:
        pieces.append(StreetPiece(("crossing", street.lanes), "road", Spot(street.crossing, 0.0, 0.0, 0.01)))
    for side in (-1.0, 1.0):
        pieces += _pavements(street, side)
        pieces += _houses(street, side, random)
        pieces += _posts(street, side, random)
    return tuple(StreetPiece(p.name, p.stuff, to_ego(street, p.spot), p.slim) for p in pieces)


def _pavements(street: Street, side: float) -> list[StreetPiece]:
    across = side * (street.curb + PAVEMENT / 2)
    if street.crossing is None:
        middles = [-REACH / 2, REACH / 2]
    else:
        middles = [street.crossing - LANE - REACH / 2, street.crossing + LANE + REACH / 2]
    return [StreetPiece(("pavement", 0), "sidewalk", Spot(middle, across, 0.0, -0.1)) for middle in middles]


def _houses(street: Street, side: float, random: np.random.Generator) -> list[StreetPiece]:
    """Houses in a row, some of them missing, none on the crossing."""
    pieces = []
    at = -REACH + random.uniform(0.0, 8.0)
    while at < REACH:
        number = int(random.integers(HOUSES))
        width, depth, _ = scenery.house_size(number)
        middle = at + width / 2
        free = street.crossing is None or abs(middle - street.crossing) > width / 2 + LANE + 1.5
        if free and random.random() < 0.85:
            spot = Spot(middle, side * (street.front + depth / 2), 0.0 if side > 0 else np.pi)
            pieces.append(StreetPiece(("house", number), "building", spot))
        at += width + random.uniform(0.0, 3.0)
    return pieces


def _posts(street: Street, side: float, random: np.random.Generator) -> list[StreetPiece]:
    """Trees and lamps along the curb."""
    pieces = []
    at = -0.8 * REACH + random.uniform(0.0, 10.0)
    across = side * (street.curb + 0.45)
    while at < 0.8 * REACH:
        if street.crossing is None or abs(at - street.crossing) > LANE + 1.0:
            tree = random.random() < 0.5
            name = ("tree", int(random.integers(TREES))) if tree else ("lamp", 0)
            yaw = -side * np.pi / 2
            stuff = "vegetation" if tree else "pole"
            pieces.append(StreetPiece(name, stuff, Spot(at, across, yaw, CURB_HEIGHT), slim=True))
        at += random.uniform(9.0, 18.0)
    return pieces


def category(stuff: str, num_classes: int) -> int:
    """Return the label of a piece's pixels: those of stuff follow the classes; the sky is ``NOTHING``."""
    return num_classes + STUFF_NAMES.index(stuff)
