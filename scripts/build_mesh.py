"""Build a mesh from a script of tools, look at it, and write it to a file.

    python scripts/build_mesh.py docs/geometry/bracket.yaml -o bracket.glb --preview bracket.png
    python scripts/build_mesh.py docs/geometry/bracket.yaml --set 'steps[0].box.size=[3, 1, 0.2]' --turntable turn.gif
    python scripts/build_mesh.py docs/geometry/bracket.yaml --python > bracket.py
    python scripts/build_mesh.py --words difference

Each step is printed with what the mesh is after it. The ending of ``-o`` says which kind of file is written: .glb,
.ply, .obj or .stl. ``--levels`` and ``--collision`` put coarser meshes and convex parts beside the scene of a .glb.
``--words`` lists the operations, or the parameters of one.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from lab.cli.refusing import refusing
from lab.errors import GeometryError, LabError
from lab.geometry.asset import AssetOptions, accept
from lab.geometry.files import write_mesh
from lab.geometry.measures import bounds, open_edges, surface_area, volume
from lab.geometry.mesh import DynamicMesh
from lab.geometry.parameters import Parameters, defaults, parameter_hints, plain
from lab.geometry.python_text import python_text
from lab.geometry.render.portrait import portrait, turntable, write_gif
from lab.geometry.script import Script, read_script, script_text
from lab.geometry.static_mesh import StaticMesh
from lab.geometry.tool import Tool
from lab.geometry.words import WORDS, tool_class
from lab.text import printable


def parsed(words: list[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", nargs="?", type=Path, help="a YAML file: docs/geometry.md says what stands in it")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="the mesh: .glb, .ply, .obj or .stl")
    parser.add_argument("--preview", type=Path, metavar="PNG", help="a picture")
    parser.add_argument("--turntable", type=Path, metavar="GIF", help="a picture that turns")
    parser.add_argument("--size", type=int, default=512, help="pixels of a picture's sides (a GIF has half)")
    parser.add_argument("--frames", type=int, default=36, help="pictures of one turn")
    parser.add_argument("--azimuth", type=float, default=35.0, help="degrees from which the preview is seen")
    parser.add_argument("--levels", type=float, nargs="+", default=[], metavar="SHARE", help="levels of detail")
    parser.add_argument("--collision", choices=("parts", "hull", "box"), help="what convex parts are made")
    parser.add_argument("--steps", type=int, metavar="N", help="only the first N steps")
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="PATH=VALUE", help="change a value"
    )
    parser.add_argument("--python", action="store_true", help="print the script as a Python program; build nothing")
    parser.add_argument("--yaml", action="store_true", help="print the script, with changes, as YAML; build nothing")
    parser.add_argument("--words", nargs="?", const="", metavar="WORD", help="list the operations, or one's parameters")
    arguments = parser.parse_args(words)
    if arguments.words is None and arguments.script is None:
        parser.error("a script is missing: docs/geometry has some")
    return arguments


def described(word: str) -> str:
    """Return the operations with what each does, or one's parameters with their defaults and meanings."""
    if not word:
        width = max(map(len, WORDS))
        return "\n".join(f"{name:{width}}  {_summary(tool_class(name))}" for name in WORDS)
    kind = tool_class(word)
    return "\n".join([f"{word}: {_summary(kind)}", *_parameters(kind, "")])


def _parameters(kind: type[Any], outer: str) -> Iterator[str]:
    meanings, usual = _meanings(kind), defaults(kind)
    for name, hint in parameter_hints(kind).items():
        shown = f"= {json.dumps(plain(usual[name]))}" if name in usual else "is required"
        yield f"  {outer}{name} {shown}{_choices(hint)}\n      {meanings[name]}"
        for inner in (hint, *get_args(hint)):
            if isinstance(inner, type) and issubclass(inner, Parameters) and not issubclass(inner, Tool):
                yield from _parameters(inner, f"{outer}{name}.")


def _choices(hint: Any) -> str:
    """Return what a parameter may be, where it is one of some words."""
    for inner in (hint, *get_args(hint)):
        if get_origin(inner) is Literal:
            return f"  ({' | '.join(map(str, get_args(inner)))})"
    return ""


def _summary(kind: type[Any]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _meanings(kind: type[Any]) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say of each attribute; a subclass has the last word."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = (inspect.cleandoc(base.__doc__ or "")).partition("Attributes:\n")[2]
        name = ""
        for line in text.splitlines():
            if line.startswith("    ") and not line.startswith("     "):
                name, _, line = line.strip().partition(": ")
                found[name] = ""
            if name:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the static mesh that the command line asks for."""
    collision = None if arguments.collision is None else {"method": arguments.collision}
    return {"levels": arguments.levels, "collision": collision}


def build(script: Script, count: int | None) -> DynamicMesh:
    """Run a script step by step, and print what the mesh is after each.

    Raises:
        GeometryError: a step failed, or there are no steps to run.
    """
    steps = script.steps[:count]
    start, mesh = time.process_time(), None
    for index, mesh in enumerate(dataclasses.replace(script, steps=steps).states()):
        spent, start = time.process_time() - start, time.process_time()
        size = f"{mesh.num_triangles:9,} triangles {mesh.num_vertices:9,} vertices"
        print(f"steps[{index}] {steps[index].word:18}{size}{1000 * spent:9.1f} ms")
    if mesh is None or not mesh.num_triangles:
        raise GeometryError("the script makes no triangles")
    return mesh


def measured(mesh: DynamicMesh) -> str:
    """Return a mesh's size, surface and volume, and whether it is closed, in two lines."""
    low, high = bounds(mesh)
    x, y, z = high - low
    count = len(open_edges(mesh))
    closed = f"watertight, {volume(mesh):.6g} m3" if not count else f"{count} open edges"
    names = ", ".join(material.name for material in mesh.materials)
    return f"{x:.4g} x {y:.4g} x {z:.4g} m, {surface_area(mesh):.6g} m2, {closed}\nmaterials: {names}"


def write(mesh: StaticMesh, arguments: argparse.Namespace) -> list[Path]:
    """Write what the command line asks for; return the files.

    Raises:
        LabError: a file cannot be written.
    """
    from PIL import Image

    written = []
    try:
        if arguments.out:
            write_mesh(mesh, arguments.out)
            written.append(arguments.out)
        if arguments.preview:
            Image.fromarray(portrait(mesh, arguments.size, arguments.azimuth)).save(arguments.preview)
            written.append(arguments.preview)
        if arguments.turntable:
            write_gif(turntable(mesh, arguments.frames, arguments.size // 2), arguments.turntable)
            written.append(arguments.turntable)
    except (OSError, ValueError) as error:
        if isinstance(error, LabError):
            raise
        raise GeometryError(f"cannot be written: {error}") from error
    return written


@refusing
def main(words: list[str] | None = None) -> int:
    """Build and write; return the exit code."""
    arguments = parsed(words)
    if arguments.words is not None:
        print(described(arguments.words))
        return 0
    script = read_script(arguments.script, arguments.changes)
    if arguments.python or arguments.yaml:
        print(python_text(script) if arguments.python else script_text(script), end="")
        return 0
    mesh = build(script, arguments.steps)
    print(printable(measured(mesh), keep_lines=True))
    static = accept(mesh, AssetOptions.of(options_of(arguments)))
    for number, level in enumerate(static.levels, 1):
        print(f"level {number}: {len(level.triangles):,} triangles")
    if static.collision:
        print(f"collision: {len(static.collision)} convex parts")
    written = write(static, arguments)
    for path in written:
        print(f"written   {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
