"""Files of meshes and scripts with damaged bytes are read or refused by one line: nothing else, and no warning.

Three longer rounds (45,150 files, 2026-11-29) found five faults, which are mended; the last (17,822 files) found none.
"""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import pytest

from lab.errors import GeometryError
from lab.geometry.bake import bake
from lab.geometry.files import read_mesh, write_mesh
from lab.geometry.script import parse_script
from lab.geometry.static_mesh import StaticMesh

TEXT = """
seed: 1
steps:
  - box: {material: {name: a, pattern: {pixels: 4}}}
  - repeat: {other: [{cylinder: {sides: 6, at: [3, 0, 0]}}], count: 2, at: [2, 0, 0]}
"""
ADDED = (b"9", b"-", b" ", b"[]", b"null", b"\n", b"1e400", b"nan")
ROUNDS = 80


@pytest.fixture(scope="module")
def part() -> StaticMesh:
    return bake(parse_script(TEXT).run())


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return bytes of which a few are changed, taken away or added, most of them near the beginning."""
    found = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 5])):
        place = draw.randrange(min(len(found), draw.choice([200, 2000, 10**9])))
        match draw.choice(["change", "change", "take", "add"]):
            case "change":
                found[place] = draw.choice([draw.randrange(256), 0x39, 0x2D, 0x30, 0xFF, 0])
            case "take":
                del found[place : place + draw.choice([1, 2, 4, 30])]
            case _:
                found[place:place] = draw.choice(ADDED)
    return bytes(found)


@pytest.mark.parametrize("ending", ["glb", "ply", "obj", "stl"])
def test_a_damaged_mesh_is_read_or_refused(ending: str, part: StaticMesh, tmp_path: Path) -> None:
    path, draw, refused = tmp_path / f"part.{ending}", random.Random(ending), list[str]()
    write_mesh(part, path)
    content = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(ROUNDS):
            path.write_bytes(damaged(content, draw))
            try:
                read_mesh(path)
            except GeometryError as error:
                refused.append(str(error))
    assert len(refused) > ROUNDS / 10
    assert not any("\n" in line for line in refused)


def test_a_damaged_script_is_run_or_refused() -> None:
    draw, refused = random.Random(0), list[str]()
    for _ in range(4 * ROUNDS):
        text = damaged(TEXT.encode(), draw).decode("utf-8", errors="replace")
        try:
            parse_script("budget: {triangles: 5000}\n" + text).run()
        except GeometryError as error:
            refused.append(str(error))
    assert len(refused) > ROUNDS
    assert not any("\n" in line for line in refused)
