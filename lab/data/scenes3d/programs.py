"""The programs of vehicles, barriers and cones: from random measures to tools that build a shape, facing x."""

from __future__ import annotations

from lab.data.scenes3d.parts import (
    BLACK,
    GLASS,
    LAMP,
    ORANGE,
    RED,
    STEEL,
    WHITE,
    YELLOW,
    Color,
    Program,
    Random,
    box,
    paint,
    spike,
    wheel,
)


def car(random: Random) -> Program:
    """Return a car: body, cabin towards the back, roof, wheels, lamps."""
    length, width, height = random.uniform((4.0, 1.75, 1.45), (4.9, 1.95, 1.75)).tolist()
    color = paint(random)
    hood = random.uniform(0.22, 0.3) * length
    boot = random.uniform(0.02, 0.14) * length
    waist, radius = 0.58 * height, 0.32
    cabin = length - hood - boot
    middle = (boot - hood) / 2
    return [
        box((length, width, waist - 0.25), (0.0, 0.0, 0.25), color),
        box((cabin, 0.9 * width, height - waist - 0.06), (middle, 0.0, waist), GLASS),
        box((0.86 * cabin, 0.88 * width, 0.06), (middle - 0.03 * cabin, 0.0, height - 0.06), color),
        *_axles(radius, 0.22, width, (0.31 * length, -0.3 * length)),
        *_lamps(length, width, 0.6, (0.1, 0.35, 0.16)),
    ]


def truck(random: Random) -> Program:
    """Return a truck: cab, box, wheels, lamps."""
    length, width, height = random.uniform((6.2, 2.3, 2.8), (7.8, 2.5, 3.4)).tolist()
    color, cargo = paint(random), paint(random)
    cab = random.uniform(1.7, 2.1)
    front = (length - cab) / 2
    return [
        box((length - 0.1, 0.7 * width, 0.3), (0.0, 0.0, 0.5), BLACK),
        box((cab, width, 0.76 * height - 0.5), (front, 0.0, 0.5), color),
        box((0.06, 0.86 * width, 0.24 * height), (length / 2, 0.0, 0.48 * height), GLASS),
        box((0.5 * cab, width + 0.04, 0.22 * height), (front + 0.15 * cab, 0.0, 0.48 * height), GLASS),
        box((length - cab - 0.2, width, height - 0.8), (-(cab + 0.2) / 2, 0.0, 0.8), cargo),
        *_axles(0.45, 0.3, width, (0.5 * length - 1.1, -0.5 * length + 1.3)),
        *_lamps(length, width, 0.6, (0.1, 0.3, 0.2)),
    ]


def bus(random: Random) -> Program:
    """Return a bus: body with a strip of windows all around, wheels, lamps."""
    length, width, height = random.uniform((10.0, 2.6, 3.1), (11.6, 2.8, 3.5)).tolist()
    color = paint(random)
    sill = 0.42 * height
    return [
        box((length, width, height - 0.35), (0.0, 0.0, 0.35), color),
        box((0.92 * length, width + 0.05, 0.33 * height), (-0.02 * length, 0.0, sill), GLASS),
        box((0.06, 0.9 * width, 0.5 * height), (length / 2, 0.0, 0.3 * height), GLASS),
        box((0.06, 0.6 * width, 0.2 * height), (-length / 2, 0.0, 0.55 * height), GLASS),
        box((0.05, 0.6 * width, 0.2), (length / 2 + 0.03, 0.0, 0.86 * height), ORANGE),
        *_axles(0.48, 0.3, width, (0.31 * length, -0.27 * length)),
        *_lamps(length, width, 0.6, (0.1, 0.35, 0.22)),
    ]


def trailer(random: Random) -> Program:
    """Return a trailer: a long box with three axles behind, and legs in front."""
    length, width, height = random.uniform((8.5, 2.4, 3.5), (10.5, 2.6, 3.9)).tolist()
    color = paint(random)
    stripe: Color = paint(random)
    return [
        box((length, width, height - 1.15), (0.0, 0.0, 1.15), color),
        box((0.96 * length, width + 0.04, 0.35), (0.0, 0.0, 1.4), stripe),
        box((length, 0.5 * width, 0.2), (0.0, 0.0, 0.95), BLACK),
        box((0.15, 0.6 * width, 1.0), (0.25 * length, 0.0, 0.0), STEEL),
        *_axles(0.47, 0.35, width, (-0.18 * length, -0.29 * length, -0.4 * length)),
        box((0.1, 0.9 * width, 0.2), (-length / 2, 0.0, 0.95), RED),
    ]


def excavator(random: Random) -> Program:
    """Return an excavator: tracks, a house with its cab, a boom and an arm with a bucket in front."""
    length, width, height = random.uniform((5.6, 2.4, 2.7), (6.8, 2.7, 3.2)).tolist()
    tracks, house = 0.55 * length, 0.5 * length
    back = -length / 2
    return [
        *(box((tracks, 0.5, 0.8), (back + tracks / 2, side * (width / 2 - 0.25), 0.0), BLACK) for side in (-1, 1)),
        box((house, 0.9 * width, 0.9), (back + house / 2, 0.0, 0.85), YELLOW),
        box((1.5, 0.42 * width, height - 1.75), (back + house - 0.8, 0.22 * width, 1.75), GLASS),
        box((1.5, 0.44 * width, 0.1), (back + house - 0.8, 0.22 * width, height - 0.1), YELLOW),
        box((0.55 * length, 0.35, 0.4), (back + 0.66 * length, -0.15 * width, 0.62 * height), YELLOW, (0, -18, 0)),
        box((0.3, 0.3, 0.6 * height), (length / 2 - 0.45, -0.15 * width, 0.25 * height), YELLOW, (0, -12, 0)),
        box((0.7, 0.9, 0.6), (length / 2 - 0.35, -0.15 * width, 0.1), STEEL),
    ]


def barrier(random: Random) -> Program:
    """Return a barrier across x: two boards in red and white on feet."""
    length, width, height = random.uniform((0.45, 1.9, 0.9), (0.6, 2.5, 1.1)).tolist()
    fields = 6
    part = width / fields
    colors = (RED, WHITE) if random.random() < 0.6 else (ORANGE, WHITE)
    boards = [
        box((0.08, part, 0.28 * height), (0.0, (number - (fields - 1) / 2) * part, base * height), colors[number % 2])
        for number in range(fields)
        for base in (0.3, 0.72)
    ]
    feet = [
        tool
        for side in (-0.38, 0.38)
        for tool in (
            box((length, 0.2, 0.1), (0.0, side * width, 0.0), BLACK),
            box((0.1, 0.1, 0.95 * height), (0.0, side * width, 0.0), STEEL),
        )
    ]
    return [*boards, *feet]


def traffic_cone(random: Random) -> Program:
    """Return a traffic cone: a foot, a cone, two white bands."""
    side, height = random.uniform((0.36, 0.7), (0.46, 1.05)).tolist()
    radius, top = 0.4 * side, 0.1 * side

    def band(low: float, high: float) -> tuple[float, float]:
        return (radius + (top - radius) * low) * 1.06, (radius + (top - radius) * high) * 1.06

    first, second = band(0.35, 0.52), band(0.65, 0.8)
    return [
        box((side, side, 0.06), (0.0, 0.0, 0.0), BLACK),
        spike(radius, top, height - 0.06, (0.0, 0.0, 0.06), ORANGE),
        spike(*first, 0.17 * height, (0.0, 0.0, 0.35 * height), WHITE),
        spike(*second, 0.15 * height, (0.0, 0.0, 0.65 * height), WHITE),
    ]


def _axles(radius: float, width: float, track: float, places: tuple[float, ...]) -> Program:
    """Return pairs of wheels that do not stand out of the sides."""
    return [wheel(radius, width, x, side * (track - width) / 2) for x in places for side in (-1.0, 1.0)]


def _lamps(length: float, width: float, height: float, size: tuple[float, float, float]) -> Program:
    """Return white lamps in front and red ones behind, half sunk in."""
    across = (width - size[1]) / 2 - 0.03
    return [
        box(size, (end * length / 2, side * across, height), LAMP if end > 0 else RED)
        for end in (1.0, -1.0)
        for side in (-1.0, 1.0)
    ]
