"""OBJ with MTL: corners with normals and UV, groups, materials with textures; read and written with z up, in metres."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lab.errors import GeometryError
from lab.geometry.files.loaded import TriangleSoup, unique_names
from lab.geometry.files.pictures import read_picture, write_picture
from lab.geometry.files.polygons import fans
from lab.geometry.mesh import Floats, Integers, Material
from lab.geometry.static_mesh import StaticMesh


def write_obj(mesh: StaticMesh, path: Path) -> None:
    """Write an OBJ, its materials beside it (``part.mtl``) and their textures (``part_0.png``)."""
    lines = ["# metres, z up", f"mtllib {path.with_suffix('.mtl').name}"]
    for word, values in (("v", mesh.positions), ("vn", mesh.normals), ("vt", mesh.uvs)):
        lines += [f"{word} {' '.join(f'{part:.9g}' for part in row)}" for row in values.tolist()]
    names = _plain_names(mesh.materials)
    for slot in np.unique(mesh.slots).tolist():
        lines.append(f"usemtl {names[slot]}")
        for corners in (mesh.triangles[mesh.slots == slot] + 1).tolist():
            lines.append("f " + " ".join(f"{corner}/{corner}/{corner}" for corner in corners))
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    library = []
    for slot, material in enumerate(mesh.materials):
        library += [f"newmtl {names[slot]}", "Kd " + " ".join(map(repr, map(float, material.color)))]
        library += [f"Pr {float(material.roughness)!r}", "illum 2"]
        if material.texture is not None:
            picture = path.with_name(f"{path.stem}_{slot}.png")
            picture.write_bytes(write_picture(material.texture))
            library.append(f"map_Kd {picture.name}")
    path.with_suffix(".mtl").write_text("\n".join([*library, ""]), encoding="utf-8")


def _plain_names(materials: tuple[Material, ...]) -> list[str]:
    """Return names without blanks at their ends or breaks of lines, no two of them equal."""
    return [" ".join(material.name.split()) for material in unique_names(materials)]


@dataclass
class _Lines:
    """What the lines of a file have said so far."""

    path: Path
    rows: dict[str, list[list[float]]] = field(default_factory=lambda: {"v": [], "vn": [], "vt": []})
    faces: list[np.ndarray] = field(default_factory=list)  # (corners, 3) of v, vt, vn; -1 for none
    slots: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    materials: dict[str, int] = field(default_factory=dict)
    group_names: dict[str, int] = field(default_factory=dict)
    libraries: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    colored: bool = False
    slot: int = 0
    group: int = 0

    def take(self, number: int, line: str) -> None:
        """Take in a line.

        Raises:
            GeometryError: it cannot be.
        """
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word in self.rows:
            self._numbers(word, rest, number)
        elif word == "f":
            self.faces.append(
                np.array([self._corner(text, number) for text in rest.split()], dtype=np.int64).reshape(-1, 3)
            )
            self.slots.append(self.slot)
            self.groups.append(self.group)
        elif word == "usemtl":
            self.slot = self.materials.setdefault(rest, len(self.materials))
        elif word in ("g", "o"):
            self.group = self.group_names.setdefault(f"{word} {rest}", len(self.group_names))
        elif word == "mtllib":
            self.libraries.append(rest)
        else:
            self.ignored[word] += 1

    def _numbers(self, word: str, rest: str, number: int) -> None:
        size = 2 if word == "vt" else 3
        try:
            values = [float(part) for part in rest.split()]
        except ValueError as error:
            raise GeometryError(f"{self.path} line {number}: {rest!r} are no numbers") from error
        if len(values) < size:
            raise GeometryError(f"{self.path} line {number}: {word!r} has {size} numbers, not {len(values)}")
        self.colored |= word == "v" and len(values) > 4
        self.rows[word].append(values[:size])

    def _corner(self, text: str, number: int) -> tuple[int, int, int]:
        parts = text.split("/")
        try:
            indices = [int(part) if part else 0 for part in parts] + [0, 0]
        except ValueError as error:
            raise GeometryError(f"{self.path} line {number}: {text!r} is no corner such as 1/1/1") from error
        found = []
        for word, index in zip(("v", "vt", "vn"), indices, strict=False):
            count = len(self.rows[word])
            place = index - 1 if index > 0 else count + index if index < 0 else -1
            if not -1 <= place < count or (index and place < 0) or (word == "v" and not index):
                raise GeometryError(f"{self.path} line {number}: {text!r} is no corner of the {count} {word!r} so far")
            found.append(place)
        return found[0], found[1], found[2]


def read_obj(path: Path) -> tuple[TriangleSoup, list[str]]:
    """Return the faces of an OBJ; ``g`` and ``o`` make polygroups; polygons are cut into fans.

    Raises:
        GeometryError: a line cannot be understood, or there is no face.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise GeometryError(f"{path}: is no OBJ: its byte {error.start} is no text") from error
    state = _Lines(path)
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), 1):
        words = line.partition("#")[0].replace("\t", " ").strip()
        if words:
            state.take(number, words)
    if not state.faces:
        raise GeometryError(f"{path}: is no OBJ of a mesh: it has no line 'f'")
    notes = [f"{count} lines {word!r} are left out" for word, count in state.ignored.items() if word != "s"]
    notes += ["colours of vertices are left out"] if state.colored else []
    return _parts(state, notes), notes


def _parts(state: _Lines, notes: list[str]) -> TriangleSoup:
    positions = np.array(state.rows["v"], dtype=np.float64).reshape(-1, 3)
    triangles, of_face = fans([face[:, 0] for face in state.faces], positions, str(state.path))
    first = np.zeros(len(state.faces) + 1, dtype=np.int64)
    first[1:] = np.cumsum([len(face) - 2 for face in state.faces])
    place = np.arange(len(triangles)) - first[of_face]  # the number of a triangle within its face
    starts = np.concatenate([[0], np.cumsum([len(face) for face in state.faces])])[of_face]
    rows = np.stack([starts, starts + place + 1, starts + place + 2], -1)
    corners = np.concatenate(state.faces)[rows]  # (F, 3, 3)
    return TriangleSoup(
        positions[triangles],
        _picked(state.rows["vn"], corners[..., 2], 3),
        _picked(state.rows["vt"], corners[..., 1], 2),
        np.array(state.slots)[of_face],
        np.array(state.groups)[of_face],
        _materials(state, notes),
    )


def _picked(rows: list[list[float]], corners: Integers, size: int) -> Floats | None:
    if not rows:
        return None
    values = np.array([*rows, [np.nan] * size], dtype=np.float64)  # -1 is the last
    return np.asarray(values[corners])


def _materials(state: _Lines, notes: list[str]) -> tuple[Material, ...]:
    known: dict[str, Material] = {}
    for name in state.libraries:
        file = state.path.parent / name
        if not file.is_file() or not file.resolve().is_relative_to(state.path.parent.resolve()):
            notes.append(f"the materials {name!r} are not beside it: their colours are unknown")
            continue
        known |= _library(file, notes)
    missing = [name for name in state.materials if name not in known]
    if missing and state.libraries:
        notes.append(f"{len(missing)} materials are not described: {', '.join(missing[:5])}")
    if not state.materials:
        return (Material(),)
    return unique_names([known.get(name, Material(name)) for name in state.materials])


def _library(file: Path, notes: list[str]) -> dict[str, Material]:
    found: dict[str, dict[str, str]] = {}
    name = ""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "newmtl":
            name = rest.strip()
            found[name] = {}
        elif name:
            found[name][word] = rest.strip()
    return {name: _material(name, values, file, notes) for name, values in found.items()}


def _material(name: str, values: dict[str, str], file: Path, notes: list[str]) -> Material:
    try:
        red, green, blue = (min(max(float(part), 0.0), 1.0) for part in values.get("Kd", "0.7 0.7 0.7").split()[:3])
        roughness = min(max(float(values.get("Pr", "0.8")), 0.0), 1.0)
    except ValueError as error:
        raise GeometryError(f"{file}: the material {name!r} has no three numbers Kd, or Pr is none") from error
    texture = None
    if picture := values.get("map_Kd"):
        place = file.parent / picture
        if place.is_file() and place.resolve().is_relative_to(file.parent.resolve()):
            texture = read_picture(place.read_bytes(), str(place))
        else:
            notes.append(f"the texture {picture!r} of the material {name!r} is not beside it")
    left = sorted(values.keys() - {"Kd", "Pr", "map_Kd", "illum", "#", ""})
    if left:
        notes.append(f"of the material {name!r} are left out: {', '.join(left)}")
    return Material(name, (red, green, blue), roughness, texture)
