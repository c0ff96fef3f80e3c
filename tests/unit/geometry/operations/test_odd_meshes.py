"""Odd meshes: each operation makes a valid mesh of them, or says in one line why not."""

from dataclasses import replace

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.mesh import UNSET, DynamicMesh, Overlay, empty_mesh
from lab.geometry.primitives.box import Box
from lab.geometry.primitives.sphere import Sphere
from lab.geometry.tool import Context
from lab.geometry.validation import validate
from lab.geometry.words import tool_from

BOX, BALL = (tool.apply(empty_mesh(), Context()) for tool in (Box(), Sphere(sides=8, rings=6)))
OTHER = [{"box": {"size": [0.3, 0.3, 3], "at": [0.11, 0.07, -0.5]}}]
STEPS = [
    {"difference": {"other": OTHER}},
    {"cut": {"point": [0.1, 0, 0.2], "normal": [1, 2, 3]}},
    {"extrude": {"distance": 0.1}},
    "fill_holes",
    {"offset": {"distance": 0.01}},
    {"shell": {"thickness": 0.02}},
    {"simplify": {"triangles": 10, "keep": "none"}},
    "simplify",
    "subdivide",
    {"subdivide": {"method": "loop"}},
    {"subdivide": {"method": "length", "length": 0.5}},
    {"remesh": {"length": 0.4, "iterations": 2}},
    {"smooth": {"iterations": 2}},
    {"bend": {"angle": 30}},
    {"twist": {"angle": 30}},
    {"taper": {"factor": 0.5}},
    "noise",
    {"project_uv": {"method": "cylindrical", "layer": 2}},
    "normals",
]
NO_OVERLAY = np.full((12, 3), UNSET)
SHARED = np.tile([0, 1, 2], (12, 1))
HALF = np.where(np.arange(BALL.num_triangles)[:, None] % 2, BALL.uvs[0].corners, UNSET)
ODD = {
    "empty": empty_mesh(),
    "bare": replace(BOX, normals=None, uvs=()),
    "unset": replace(BOX, normals=Overlay(np.zeros((0, 3)), NO_OVERLAY), uvs=(Overlay(np.zeros((0, 2)), NO_OVERLAY),)),
    "half unset": replace(BALL, uvs=(Overlay(BALL.uvs[0].elements, HALF), BALL.uvs[0])),
    "elements of several vertices": replace(BOX, uvs=(Overlay(np.eye(3)[:, :2], SHARED),)),
    "three triangles at an edge": DynamicMesh(
        [(0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0), (-1, -1, 0.5)],
        [[0, 1, 2], [0, 1, 3], [0, 1, 4]],
        [0, 1, 2],
        [0, 0, 0],
    ),
    "two triangles at a point": DynamicMesh(
        [(0, 0, 0), (1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0)], [[0, 1, 2], [0, 3, 4]], [0, 0], [0, 0]
    ),
    "no area": DynamicMesh([(0, 0, 0), (1, 0, 0), (2, 0, 0)], [[0, 1, 2]], [0], [0]),
    "far away": replace(BALL, positions=BALL.positions + 1e6),
    "tiny": replace(BALL, positions=BALL.positions * 1e-6),
    "a vertex too many": replace(
        BOX, positions=np.concatenate([[[9, 9, 9]], BOX.positions]), triangles=BOX.triangles + 1
    ),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("error")
def test_every_operation_makes_a_valid_mesh_or_says_why_not(name):
    refused = []
    for step in STEPS:
        try:
            validate(tool_from(step).apply(ODD[name], Context()))
        except GeometryError as error:
            refused.append(str(error))
    assert all("\n" not in line and len(line) > 15 for line in refused), refused


def test_normals_without_a_direction_take_a_triangles():
    flat = DynamicMesh([(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0)], [[0, 1, 2], [0, 2, 3]], [0, 0], [0, 0])
    mesh = tool_from({"normals": {"split": "all"}}).apply(flat, Context())
    np.testing.assert_array_equal(mesh.normals.elements, np.tile([0, 0, 1], (6, 1)))


def test_an_open_mesh_is_cut_but_its_cut_not_filled():
    sheet = ODD["three triangles at an edge"]
    cut = {"point": [0.1, 0, 0.2], "normal": [1, 2, 3]}
    with pytest.raises(
        GeometryError, match="fill: the cut does not close, since the mesh is open there: set fill to false"
    ):
        tool_from({"cut": cut}).apply(sheet, Context())
    assert tool_from({"cut": {**cut, "fill": False}}).apply(sheet, Context()).num_triangles > 0
