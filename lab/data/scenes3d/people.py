"""The programs of people and of what they ride: from random measures to tools that build a shape, facing x."""

from __future__ import annotations

import numpy as np

from lab.data.scenes3d.parts import BLACK, SKIN, STEEL, Color, Program, Random, ball, box, paint, rod, wheel


def pedestrian_walking(random: Random) -> Program:
    """Return a person who walks: legs and arms apart."""
    return _upright(random, step=float(random.uniform(20.0, 30.0)))


def pedestrian_standing(random: Random) -> Program:
    """Return a person who stands."""
    return _upright(random, step=0.0)


def _upright(random: Random, step: float) -> Program:
    height = float(random.uniform(1.6, 1.9))
    shirt, trousers = paint(random), paint(random)
    leg, hip, shoulder = 0.48 * height, 0.5 * height, 0.82 * height
    ahead = -0.15 * height * float(np.sin(np.radians(step)))
    return [
        *_legs(leg, step, trousers),
        box((0.26, 0.44, shoulder - hip + 0.06), (0.0, 0.0, hip - 0.04), shirt),
        *(
            rod(
                0.055,
                0.36 * height,
                (side * ahead, side * 0.28, 0.65 * height),
                shirt,
                (0.0, side * step, 0.0),
            )
            for side in (-1.0, 1.0)
        ),
        *_head(0.0, height),
    ]


def pedestrian_sitting(random: Random) -> Program:
    """Return a person who sits on a box."""
    height = float(random.uniform(1.2, 1.35))
    shirt, trousers = paint(random), paint(random)
    return [
        box((0.45, 0.5, 0.44), (-0.1, 0.0, 0.0), STEEL),
        *(box((0.5, 0.16, 0.16), (0.2, side * 0.12, 0.44), trousers) for side in (-1.0, 1.0)),
        *(box((0.14, 0.14, 0.5), (0.42, side * 0.12, 0.0), trousers) for side in (-1.0, 1.0)),
        box((0.26, 0.44, height - 0.74), (-0.05, 0.0, 0.46), shirt),
        *_head(-0.05, height),
    ]


def motorcycle(random: Random) -> Program:
    """Return a motorcycle that nobody rides."""
    return _motorcycle(random)[0]


def motorcycle_ridden(random: Random) -> Program:
    """Return a motorcycle with its rider."""
    program, seat = _motorcycle(random)
    return [*program, *_rider(random, seat, helmet=True)]


def bicycle(random: Random) -> Program:
    """Return a bicycle that nobody rides."""
    return _bicycle(random)[0]


def bicycle_ridden(random: Random) -> Program:
    """Return a bicycle with its rider."""
    program, seat = _bicycle(random)
    return [*program, *_rider(random, seat, helmet=False)]


def _motorcycle(random: Random) -> tuple[Program, float]:
    """Return a motorcycle, and the height of its seat."""
    length, width, height = random.uniform((1.95, 0.7, 1.1), (2.2, 0.85, 1.3)).tolist()
    color = paint(random)
    radius, seat = 0.31, 0.68 * height
    return [
        wheel(radius, 0.14, length / 2 - radius, 0.0),
        wheel(radius, 0.18, -length / 2 + radius, 0.0),
        box((0.5 * length, 0.3, 0.38), (0.0, 0.0, 0.32), BLACK),
        box((0.3 * length, 0.34, 0.3), (0.12 * length, 0.0, seat - 0.1), color),
        box((0.38 * length, 0.28, 0.1), (-0.2 * length, 0.0, seat - 0.05), BLACK),
        box((0.08, width, 0.06), (0.24 * length, 0.0, height - 0.1), STEEL),
        box((0.1, 0.26, 0.24), (0.3 * length, 0.0, height - 0.25), color),
    ], seat


def _bicycle(random: Random) -> tuple[Program, float]:
    """Return a bicycle, and the height of its saddle."""
    length, width, height = random.uniform((1.65, 0.5, 1.0), (1.8, 0.65, 1.12)).tolist()
    color = paint(random)
    radius, seat = 0.34, 0.9
    axle = length / 2 - radius
    return [
        wheel(radius, 0.06, axle, 0.0),
        wheel(radius, 0.06, -axle, 0.0),
        box((axle, 0.06, 0.07), (0.2 * axle, 0.0, 0.72), color),
        box((0.07, 0.06, 0.6), (-0.3 * axle, 0.0, 0.32), color, (0.0, -15.0, 0.0)),
        box((0.9 * axle, 0.06, 0.07), (-0.45 * axle, 0.0, 0.32), color),
        box((0.07, 0.06, 0.62), (0.8 * axle, 0.0, 0.36), color, (0.0, -18.0, 0.0)),
        box((0.28, 0.16, 0.07), (-0.4 * axle, 0.0, seat - 0.07), BLACK),
        box((0.06, width, 0.05), (0.66 * axle, 0.0, height - 0.05), STEEL),
    ], seat


def _rider(random: Random, seat: float, helmet: bool) -> Program:
    shirt, trousers = paint(random), paint(random)
    top = seat + float(random.uniform(0.8, 0.9))
    head = paint(random) if helmet else SKIN
    return [
        *(rod(0.08, 0.6, (0.1, side * 0.16, seat - 0.22), trousers, (0.0, 25.0, 0.0)) for side in (-1.0, 1.0)),
        box((0.26, 0.42, 0.56), (-0.2, 0.0, seat), shirt, (0.0, 15.0, 0.0)),
        *(rod(0.05, 0.55, (0.2, side * 0.22, seat + 0.32), shirt, (0.0, 70.0, 0.0)) for side in (-1.0, 1.0)),
        ball(0.14 if helmet else 0.12, (0.02, 0.0, top - 0.12), head),
    ]


def _legs(length: float, step: float, color: Color) -> Program:
    """Return two legs, one in front and one behind by an angle in degrees."""
    lean = np.radians(step)
    up, ahead = length / 2 * np.cos(lean), length / 2 * np.sin(lean)
    return [
        rod(0.085, length, (side * float(ahead), side * 0.11, float(up)), color, (0.0, -side * step, 0.0))
        for side in (-1.0, 1.0)
    ]


def _head(x: float, height: float) -> Program:
    return [
        rod(0.06, 0.12, (x, 0.0, height - 0.27), SKIN),
        ball(0.13, (x, 0.0, height - 0.13), SKIN),
    ]
