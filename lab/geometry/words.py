"""The table of words: which class each operation of a script is. Modules are imported when their word is used.

To add a word: write the tool (a frozen dataclass, a subclass of ``lab.geometry.tool.Tool``), and a line in the table.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from lab.errors import GeometryError, closest

PRIMITIVES = {
    "box": "lab.geometry.primitives.box:Box",
    "sphere": "lab.geometry.primitives.sphere:Sphere",
    "box_sphere": "lab.geometry.primitives.sphere:BoxSphere",
    "cylinder": "lab.geometry.primitives.round:Cylinder",
    "cone": "lab.geometry.primitives.round:Cone",
    "capsule": "lab.geometry.primitives.round:Capsule",
    "torus": "lab.geometry.primitives.round:Torus",
    "arrow": "lab.geometry.primitives.round:Arrow",
    "disc": "lab.geometry.primitives.flat:Disc",
    "rectangle": "lab.geometry.primitives.flat:FlatRectangle",
    "rounded_rectangle": "lab.geometry.primitives.flat:RoundedRectangle",
    "stairs": "lab.geometry.primitives.stairs:StraightStairs",
    "floating_stairs": "lab.geometry.primitives.stairs:FloatingStairs",
    "curved_stairs": "lab.geometry.primitives.stairs:CurvedStairs",
    "spiral_stairs": "lab.geometry.primitives.stairs:SpiralStairs",
}
"""Words that append a shape."""

EDITS = {
    "load": "lab.geometry.loading:LoadFile",
    "append": "lab.geometry.edits:AppendMesh",
    "repeat": "lab.geometry.edits:Repeat",
    "transform": "lab.geometry.edits:TransformMesh",
    "mirror": "lab.geometry.edits:MirrorMesh",
    "delete": "lab.geometry.edits:Delete",
    "weld": "lab.geometry.edits:Weld",
    "paint": "lab.geometry.edits:PaintTriangles",
    "regroup": "lab.geometry.edits:Regroup",
}
"""Words that rearrange what is there."""

OPERATIONS = {
    "union": "lab.geometry.operations.booleans:BooleanUnion",
    "difference": "lab.geometry.operations.booleans:BooleanDifference",
    "intersection": "lab.geometry.operations.booleans:BooleanIntersection",
    "trim": "lab.geometry.operations.booleans:Trim",
    "cut": "lab.geometry.operations.cut:Cut",
    "extrude": "lab.geometry.operations.extrude:Extrude",
    "extrude_polygon": "lab.geometry.operations.extrude:ExtrudePolygon",
    "revolve": "lab.geometry.operations.revolve:Revolve",
    "sweep": "lab.geometry.operations.sweep:Sweep",
    "loft": "lab.geometry.operations.loft:Loft",
    "fill_holes": "lab.geometry.operations.fill:FillHoles",
    "offset": "lab.geometry.operations.shell:Offset",
    "shell": "lab.geometry.operations.shell:Shell",
    "simplify": "lab.geometry.operations.simplify:Simplify",
    "subdivide": "lab.geometry.operations.subdivide:Subdivide",
    "remesh": "lab.geometry.operations.remesh:Remesh",
    "smooth": "lab.geometry.operations.smooth:Smooth",
    "bend": "lab.geometry.operations.deform:Bend",
    "twist": "lab.geometry.operations.deform:Twist",
    "taper": "lab.geometry.operations.deform:Taper",
    "noise": "lab.geometry.operations.noise:Noise",
    "project_uv": "lab.geometry.operations.project_uv:ProjectUV",
    "normals": "lab.geometry.operations.normals:Normals",
}
"""Words of ``lab.geometry.operations``: they model."""

CONVERSIONS = {
    "voxelize": "lab.geometry.solids:Voxelize",
    "solidify": "lab.geometry.solids:Solidify",
    "flat_volume": "lab.geometry.solids:FlatVolume",
    "convex_parts": "lab.geometry.solids:ConvexParts",
}
"""Words that go through another form of the mesh."""

WORDS = PRIMITIVES | EDITS | OPERATIONS | CONVERSIONS


def tool_class(word: str) -> type[Any]:
    """Return the class of a word.

    Raises:
        GeometryError: there is no such word.
    """
    if word not in WORDS:
        known = closest(word, WORDS) or f"; there are {', '.join(WORDS)}"
        raise GeometryError(f"there is no operation {word!r}{known}")
    module, _, name = WORDS[word].partition(":")
    kind: type[Any] = getattr(importlib.import_module(module), name)
    return kind


def tool_from(value: object) -> Any:
    """Return the tool that a step of a script describes.

    Args:
        value: ``{word: {parameter: value}}``; a word alone where every parameter has its default.

    Raises:
        GeometryError: there is no such word or parameter, or a value cannot be.
    """
    if isinstance(value, Mapping) and len(value) == 1:
        word, parameters = next(iter(value.items()))
    else:
        word, parameters = value, None
    if not isinstance(word, str):
        raise GeometryError("a step is one operation with its parameters, as in 'box: {size: [1, 1, 1]}'")
    kind = tool_class(word)
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, Mapping):
        raise GeometryError("has its parameters as a mapping, as in '{size: [1, 1, 1]}'", word)
    try:
        return kind.of(parameters)
    except GeometryError as error:
        raise error.within(word) from error
