"""The operations as words of a script."""

import pytest

from lab.errors import GeometryError
from lab.geometry.measures import is_watertight, volume
from lab.geometry.script import parse_script

BRICK = """
steps:
  - box: {size: [2, 1, 1]}
  - difference:
      other:
        - extrude_polygon:
            outline: [[-0.25, -0.25], [0.25, -0.25], [0.25, 0.25], [-0.25, 0.25]]
            height: 0.5
            at: [0, 0, 0.75]
  - extrude: {faces: {facing: [1, 0, 0], box: [[0.9, -1, 0], [1, 1, 1]]}, distance: 0.5}
"""


def test_a_script_of_operations():
    mesh = parse_script(BRICK).run()
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(2 - 0.5 * 0.5 * 0.25 + 0.5, abs=1e-13)


def test_an_error_names_the_step_and_the_parameter():
    with pytest.raises(GeometryError, match=r"steps\[2\].extrude.faces: selects none of the \d+ triangles"):
        parse_script(BRICK.replace("[1, 0, 0]", "[1, 1, 0]")).run()
    with pytest.raises(GeometryError, match=r"steps\[1\].difference.other\[0\].extrude_polygon.height: makes no solid"):
        parse_script(BRICK.replace("height: 0.5", "height: 0")).run()
    with pytest.raises(GeometryError, match=r"steps\[1\].difference.other: must have at least 1 parts"):
        parse_script("steps: [box, difference: {other: []}]")
