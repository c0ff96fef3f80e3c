"""The operations as words of a script."""

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.measures import face_normals, is_watertight, volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.script import parse_script, script_text
from lab.geometry.words import OPERATIONS
from lab.geometry.yaml_text import dump_yaml

BRICK = """
steps:
  - box: {size: [2, 1, 1]}
  - difference:
      other:
        - extrude_polygon:
            outline: [[-0.25, -0.25], [0.25, -0.25], [0.25, 0.25], [-0.25, 0.25]]
            height: 0.5
            at: [0, 0, 0.75]
  - extrude: {select: {facing: [1, 0, 0], box: [[0.9, -1, 0], [1, 1, 1]]}, distance: 0.5}
"""


def test_a_script_of_operations():
    mesh = parse_script(BRICK).run()
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(2 - 0.5 * 0.5 * 0.25 + 0.5, abs=1e-13)


def test_an_error_names_the_step_and_the_parameter():
    with pytest.raises(GeometryError, match=r"steps\[2\].extrude.select: selects none of the \d+ triangles"):
        parse_script(BRICK.replace("[1, 0, 0]", "[1, 1, 0]")).run()
    with pytest.raises(GeometryError, match=r"steps\[1\].difference.other\[0\].extrude_polygon.height: makes no solid"):
        parse_script(BRICK.replace("height: 0.5", "height: 0")).run()
    with pytest.raises(GeometryError, match=r"steps\[1\].difference.other: must have at least 1 parts"):
        parse_script("steps: [box, difference: {other: []}]")


OTHER = [{"box": {"size": [0.3, 0.3, 3], "at": [0.11, 0.07, -0.5]}}]
STEPS = [
    {"union": {"other": OTHER}},
    {"difference": {"other": OTHER}},
    {"intersection": {"other": OTHER}},
    {"trim": {"other": OTHER}},
    {"cut": {"point": [0.1, 0, 0.2], "normal": [1, 2, 3]}},
    {"extrude": {"distance": 0.1, "select": {"facing": [0, 0, 1], "within": 50}}},
    {"extrude_polygon": {"outline": [[0, 0], [1, 0], [0, 1]]}},
    {"revolve": {"profile": [[1, 0], [2, 0], [1, 1]], "angle": 90}},
    {"sweep": {"outline": [[0, 0], [1, 0], [0, 1]], "path": [[0, 0, 0], [0, 0, 3], [0, 2, 5]]}},
    {"loft": {"outlines": [[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 1], [2, 0, 1], [0, 1, 1]]]}},
    {"fill_holes": {}},
    {"offset": {"distance": 0.01}},
    {"shell": {"thickness": 0.02}},
    {"simplify": {"triangles": 240, "keep": "borders"}},
    {"simplify": {"max_error": 0.01}},
    {"subdivide": {"method": "loop"}},
    {"subdivide": {"method": "length", "length": 0.3}},
    {"remesh": {"length": 0.15}},
    {"smooth": {"iterations": 2}},
    {"bend": {"angle": 30}},
    {"twist": {"angle": 30}},
    {"taper": {"shape": "flare", "factor": 1.5}},
    {"noise": {"magnitude": 0.02}},
    {"project_uv": {"method": "cylindrical"}},
    {"normals": {"split": "angle"}},
]
OPENS = {"trim"}


def sound(mesh: DynamicMesh) -> None:
    """Every index points at something, nothing is left over, all numbers are finite, normals are of length 1."""
    assert np.isfinite(mesh.positions).all()
    np.testing.assert_array_equal(np.unique(mesh.triangles), np.arange(mesh.num_vertices))
    assert mesh.slots.max() < len(mesh.materials)
    for overlay in (mesh.normals, *mesh.uvs):
        assert overlay.corners.shape == mesh.triangles.shape
        np.testing.assert_array_equal(np.unique(overlay.corners), np.arange(len(overlay.elements)))
        assert np.isfinite(overlay.elements).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals.elements, axis=1), 1, atol=1e-9)
    facing = (mesh.normals.elements[mesh.normals.corners] * face_normals(mesh)[:, None]).sum(axis=2)
    assert facing.min() > 0


@pytest.mark.parametrize("step", STEPS, ids=lambda step: "-".join(map(str, step)))
def test_every_word_keeps_closed_painted_shapes_closed_and_painted(step):
    (word,) = step
    for shape in ("box", "sphere", "torus"):
        painted = {"material": {"name": "red", "color": [1, 0, 0]}}
        script = parse_script(dump_yaml({"steps": [{shape: painted}, step]}))
        assert parse_script(script_text(script)) == script
        mesh = script.run()
        sound(mesh)
        assert is_watertight(mesh) == (word not in OPENS)
        assert mesh.materials[0].name == "red"
        again = script.run()
        np.testing.assert_array_equal(mesh.positions, again.positions)


def test_every_operation_has_a_step_here():
    assert {word for step in STEPS for word in step} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("{extrude: {distance: 1e300}}", "extrude.distance: must be at most 1000000.0, not 1e+300"),
        ("{remesh: {length: 1e-300}}", "remesh.length: must be at least 1e-06, not 1e-300"),
        ("{noise: {frequency: 0}}", "noise.frequency: must be above 0, not 0.0"),
        ("{subdivide: {levels: 12}}", "subdivide: makes 201326592 triangles; budget.triangles allows 1000000"),
        ("{subdivide: {method: length, length: 1e-6}}", "subdivide.length: 1e-06 makes more than 1000000 triangles"),
        ("{subdivide: {length: 1}}", "subdivide.length: has no meaning with method: flat"),
        ("{remesh: {length: 0.001}}", "remesh.length: 0.001 makes about 13856406 triangles, more than 1000000"),
    ],
)
def test_what_no_machine_could_make_is_refused_before_it_is_made(step, message):
    with pytest.raises(GeometryError) as caught:
        parse_script(f"steps: [box, {step}]").run()
    assert f"steps[1].{message}" in str(caught.value)
