"""Arrays that do not fit together are refused by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Overlay, empty_mesh
from lab.geometry.primitives.box import Box
from lab.geometry.tool import Context
from lab.geometry.validation import validate

BOX = Box().apply(empty_mesh(), Context())


def changed(array: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    copy = array.copy()
    copy[place] = value
    return copy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"positions": BOX.positions[:, :2]}, "positions: must have the shape (8, 3), not (8, 2)"),
        ({"positions": changed(BOX.positions, (3, 1), np.nan)}, "positions[3]: must be finite, not [-0.5, nan"),
        (
            {"triangles": changed(BOX.triangles, (2, 1), 8)},
            "triangles[2][1]: must be an index of the 8 vertices, not 8",
        ),
        ({"triangles": changed(BOX.triangles, (2, 1), -1)}, "triangles[2][1]: must be an index of the 8 vertices"),
        (
            {"positions": changed(BOX.positions, (3, 1), 1e300)},
            "positions[3]: must be within 1e+09 m, not at [",
        ),
        ({"slots": BOX.slots + 1}, "slots[0]: must be an index of the 1 materials, not 1"),
        ({"polygroups": BOX.polygroups[:3]}, "polygroups: must have the shape (12,), not (3,)"),
        ({"normals": Overlay(np.ones((1, 3)), np.zeros((12, 3)))}, "normals[0]: a normal has length 1, not 1.73205"),
        ({"uvs": (Overlay(np.ones((1, 2)), np.ones((12, 3))),)}, "uvs[0].corners[0][0]: must be an index of the 1 el"),
        ({"uvs": (Overlay(np.ones((1, 3)), np.zeros((12, 3))),)}, "uvs[0].elements: must have the shape (1, 2)"),
    ],
)
def test_a_broken_mesh_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(GeometryError) as caught:
        validate(dataclasses.replace(BOX, **values))
    assert message in str(caught.value)


def test_arrays_cannot_be_written_to() -> None:
    validate(BOX)
    validate(empty_mesh())
    assert isinstance(BOX, DynamicMesh)
    for array in (BOX.positions, BOX.triangles, BOX.slots, BOX.uvs[0].elements):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
