"""The programs of what is no object: ground, roadway, pavements, houses, trees and lamps, each by a number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lab.data.scenes3d.parts import GLASS, STEEL, WHITE, Color, Program, ball, box, rod
from lab.data.scenes3d.street import CURB_HEIGHT, LANE, PARKING, PAVEMENT, REACH

_GRASS: Color = (0.12, 0.2, 0.07)
_ASPHALT: Color = (0.11, 0.11, 0.12)
_STRIP: Color = (0.16, 0.16, 0.17)
_PAVING: Color = (0.42, 0.4, 0.38)
_WALLS = ((0.55, 0.42, 0.3), (0.6, 0.55, 0.45), (0.4, 0.2, 0.15), (0.5, 0.5, 0.52), (0.65, 0.5, 0.35))
_THIN = 0.005  # metres that paint stands out of the roadway


def house_size(number: int) -> tuple[float, float, float]:
    """Return width along the street, depth and height of a house."""
    random = np.random.default_rng([1, number])
    width, depth, storeys = random.uniform(8.0, 15.0), random.uniform(8.0, 12.0), int(random.integers(2, 6))
    return float(width), float(depth), 3.0 * storeys + 0.8


def house(number: int) -> Program:
    """Return a house whose front faces -y: walls, rows of windows, a door, a roof."""
    width, depth, height = house_size(number)
    wall = _WALLS[number % len(_WALLS)]
    columns = int(width // 2.6)
    pitch = width / columns
    front = -depth / 2
    windows = [
        box((0.5 * pitch, 0.1, 1.5), ((column - (columns - 1) / 2) * pitch, front, 3.0 * storey + 1.0), GLASS)
        for storey in range(int(height // 3))
        for column in range(columns)
        if storey or column != columns // 2
    ]
    return [
        box((width, depth, height), (0.0, 0.0, 0.0), wall),
        box((width + 0.3, depth + 0.3, 0.3), (0.0, 0.0, height), (0.15, 0.1, 0.1)),
        box((1.2, 0.12, 2.2), ((columns // 2 - (columns - 1) / 2) * pitch, front, 0.1), (0.2, 0.1, 0.05)),
        *windows,
    ]


def ground(number: int) -> Program:
    """Return the ground around the street."""
    return [box((400.0, 400.0, 0.01), (0.0, 0.0, 0.0), _GRASS)]


def road(lanes: int) -> Program:
    """Return the roadway with its lines: two along the middle, dashes between lanes, strips to park on."""
    length, half = 2 * REACH, LANE * lanes
    dashes = [
        box((2.0, 0.12, _THIN), (-REACH + 6.0 * number, side * LANE, 0.0), WHITE)
        for side in (-1.0, 1.0)
        for number in range(int(length // 6))
        if lanes > 1
    ]
    return [
        box((length, 2 * half, 0.1), (0.0, 0.0, -0.1), _ASPHALT),
        *(box((length, PARKING, 0.1), (0.0, s * (half + PARKING / 2), -0.1), _STRIP) for s in (-1.0, 1.0)),
        *(box((length, 0.12, _THIN), (0.0, s * 0.15, 0.0), WHITE) for s in (-1.0, 1.0)),
        *(box((length, 0.12, _THIN), (0.0, s * half, 0.0), WHITE) for s in (-1.0, 1.0)),
        *dashes,
    ]


def crossing(lanes: int) -> Program:
    """Return the roadway that crosses, 1 cm thick, with stripes to walk on at its mouths."""
    half = LANE * lanes + PARKING
    stripes = [
        box((2.0, 0.5, _THIN), (side * (LANE + 1.8), -half + 0.75 + 1.0 * number, -0.01), WHITE)
        for side in (-1.0, 1.0)
        for number in range(int((2 * half - 0.5) // 1.0))
    ]
    lines = [box((0.12, REACH - half, _THIN), (0.0, s * (REACH + half) / 2, 0.0), WHITE) for s in (-1.0, 1.0)]
    return [box((2 * LANE, 2 * REACH, 0.01), (0.0, 0.0, -0.01), _ASPHALT), *stripes, *lines]


def pavement(number: int) -> Program:
    """Return a pavement of half of the street's length; its top is a curb above z = 0.1."""
    return [box((REACH, PAVEMENT, CURB_HEIGHT + 0.1), (0.0, 0.0, 0.0), _PAVING)]


def tree(number: int) -> Program:
    """Return a tree: a trunk and three balls of leaves."""
    random = np.random.default_rng([2, number])
    height, radius = random.uniform(3.0, 4.5), random.uniform(1.0, 1.5)
    green: Color = (0.06, float(random.uniform(0.15, 0.28)), 0.04)
    places = random.uniform((-0.6, -0.6, -0.3), (0.6, 0.6, 0.9), (3, 3)) + np.array([0.0, 0.0, height])
    crowns = [
        ball(float(radius * part), (x, y, z), green)
        for (x, y, z), part in zip(places.tolist(), (1.0, 0.8, 0.7), strict=True)
    ]
    return [rod(0.14, float(height), (0.0, 0.0, float(height) / 2), (0.15, 0.09, 0.05)), *crowns]


def lamp(number: int) -> Program:
    """Return a street lamp whose arm points along x."""
    return [
        rod(0.07, 5.6, (0.0, 0.0, 2.8), STEEL),
        box((1.4, 0.08, 0.08), (0.65, 0.0, 5.5), STEEL),
        box((0.5, 0.2, 0.1), (1.2, 0.0, 5.42), WHITE),
    ]


PROGRAMS: dict[str, Callable[[int], Program]] = {
    "ground": ground,
    "road": road,
    "crossing": crossing,
    "pavement": pavement,
    "house": house,
    "tree": tree,
    "lamp": lamp,
}
"""By the names of ``lab.data.scenes3d.surroundings.StreetPiece``."""
