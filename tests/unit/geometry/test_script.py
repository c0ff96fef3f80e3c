"""Scripts: run, written and read back; errors name the step and the parameter."""

from __future__ import annotations

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.primitives.box import Box
from lab.geometry.script import Script, parse_script, script_text

TEXT = """
seed: 3
steps:
  - box: {size: [2, 1, 0.5], steps: [2, 1, 1], material: {name: wood, color: [0.5, 0.25, 0]}}
  - box: {at: [0, 0, 5e-1], pivot: centre}
"""


def test_a_script_of_two_boxes_runs() -> None:
    script = parse_script(TEXT)
    mesh = script.run()
    assert mesh.num_triangles == 2 * (4 * 2 + 2) + 12
    np.testing.assert_array_equal(mesh.positions.min(0), [-1, -0.5, 0])
    assert [material.name for material in mesh.materials] == ["wood", "rgb 0.7 0.7 0.7"]
    assert script.steps[1] == Box(at=(0, 0, 0.5), pivot="centre")


def test_a_script_is_read_back_equal() -> None:
    script = parse_script(TEXT)
    assert parse_script(script_text(script)) == script
    assert "seed: 3" in script_text(script)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [{bx: {}}]", "script line 1: steps[0]: there is no operation 'bx'; did you mean 'box'?"),
        ("steps:\n- box:\n- box:\n    siz: 1", "script line 4: steps[1].box.siz: there is no such parameter; did"),
        ("steps:\n- box: {size: [1, -2, 1]}", "script line 2: steps[0].box.size[1]: must be above 0, not -2.0"),
        ("steps: [box]\nseed: 1\nseed: 2", "script line 3: 'seed' stands twice"),
        ("step: [box]", "step: there is no such parameter; did you mean 'steps' or"),
    ],
)
def test_an_error_names_the_step_and_the_parameter(text: str, message: str) -> None:
    with pytest.raises(GeometryError) as caught:
        parse_script(text)
    assert message in str(caught.value)


def test_a_runaway_is_stopped_before_it_takes_memory() -> None:
    script = parse_script("budget: {triangles: 1000}\nsteps: [box, {box: {steps: [50000, 50000, 50000]}}]")
    with pytest.raises(GeometryError, match=r"steps\[1\]\.box: makes 300000000\d* triangles; budget.triangles allows"):
        script.run()
    assert Script(steps=(Box(),)).run().num_triangles == 12
