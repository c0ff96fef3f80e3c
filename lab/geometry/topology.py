"""Edges of a triangle mesh, who is next to whom, borders; normals of faces and corners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.errors import GeometryError
from lab.geometry.mesh import DynamicMesh, Flags, Floats, Integers


@dataclass(frozen=True)
class Edges:
    """The undirected edges of a mesh; half-edge ``3 f + k`` goes from corner k to corner k + 1 of triangle f.

    Attributes:
        vertices: (E, 2) int64, the lower vertex first.
        of_triangle: (F, 3) int64 the edge of each half-edge.
        forward: (F, 3) bool whether the half-edge goes from the lower vertex to the higher one.
    """

    vertices: Integers
    of_triangle: Integers
    forward: Flags

    @cached_property
    def count(self) -> Integers:
        """(E,) the triangles at each edge."""
        return np.bincount(self.of_triangle.ravel(), minlength=len(self.vertices))

    @cached_property
    def halves(self) -> Integers:
        """(E, 2) int64 the half-edge that goes forward and the one that goes back; -1 where there is none.

        Edges with other than one half-edge in a direction hold -1 in both columns unless they are plainly open.
        """
        table = np.full((len(self.vertices), 2), -1, dtype=np.int64)
        ids, side = self.of_triangle.ravel(), 1 - self.forward.ravel().astype(np.int64)
        table[ids, side] = np.arange(ids.size)
        seen = np.zeros((len(self.vertices), 2), dtype=np.int64)
        np.add.at(seen, (ids, side), 1)
        table[(seen > 1).any(axis=1)] = -1
        return table

    @cached_property
    def inner(self) -> Flags:
        """(E,) whether exactly two triangles of opposite direction meet."""
        return np.asarray((self.halves >= 0).all(axis=1))

    @cached_property
    def pairs(self) -> Integers:
        """(I, 2) the triangles at each inner edge."""
        return self.halves[self.inner] // 3


def find_edges(triangles: Integers) -> Edges:
    """Return the edges of triangles (F, 3)."""
    tails, heads = triangles, np.roll(triangles, -1, axis=1)
    low, high = np.minimum(tails, heads).ravel(), np.maximum(tails, heads).ravel()
    width = int(triangles.max(initial=0)) + 1
    keys, inverse = np.unique(low * width + high, return_inverse=True)
    vertices = np.stack([keys // width, keys % width], axis=1)
    return Edges(vertices, inverse.reshape(-1, 3), tails < heads)


def chain_loops(half_edges: Integers, touching: bool = False) -> list[Integers]:
    """Return closed loops of vertices from directed half-edges (B, 2), longest first.

    Args:
        half_edges: tails and heads.
        touching: whether loops may touch at a vertex; then each goes on along any edge from there.

    Raises:
        GeometryError: two borders touch at a vertex where they may not, or a border does not close.
    """
    following: dict[int, list[int]] = {}
    for tail, head in half_edges.tolist():
        following.setdefault(tail, []).append(head)
    if not np.array_equal(np.sort(half_edges[:, 0]), np.sort(half_edges[:, 1])):
        raise GeometryError("a border does not close: triangles at it face opposite ways")
    if not touching and len(following) != len(half_edges):
        raise GeometryError("two borders, or two parts of one, touch at a vertex")
    loops = []
    while following:
        first = next(iter(following))
        loop, vertex = [first], _step(following, first)
        while vertex != first:
            loop.append(vertex)
            vertex = _step(following, vertex)
        loops.append(np.array(loop, dtype=np.int64))
    return sorted(loops, key=len, reverse=True)


def _step(following: dict[int, list[int]], vertex: int) -> int:
    """Return the vertex after another, and take that edge away."""
    heads = following[vertex]
    head = heads.pop()
    if not heads:
        del following[vertex]
    return head


def face_vectors(positions: Floats, triangles: Integers) -> Floats:
    """Return (F, 3) normals of triangles, of the length of twice their area."""
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def filled_normals(elements: Floats, corners: Integers, positions: Floats, triangles: Integers) -> Floats:
    """Return normals (E, 3) of length 1; one that has no direction takes that of a triangle there, or else +z.

    Args:
        elements: (E, 3) of any length.
        corners: (F, 3) which element each corner takes.
        positions: (V, 3).
        triangles: (F, 3).
    """
    normals = unit(elements)
    lost = ~normals.any(axis=1)
    if lost.any():
        faces = np.repeat(unit(face_vectors(positions, triangles)), 3, axis=0)
        known = (corners.ravel() >= 0) & faces.any(axis=1)
        found = np.tile([0.0, 0.0, 1.0], (len(normals), 1))
        found[corners.ravel()[known]] = faces[known]
        normals[lost] = found[lost]
    return normals


def require_triangles(mesh: DynamicMesh) -> None:
    """Refuse a mesh without triangles.

    Raises:
        GeometryError: it has none.
    """
    if not mesh.num_triangles:
        raise GeometryError("the mesh has no triangles")


def make_direction(values: Sequence[float], *path: str) -> Floats:
    """Return (3,) a direction of length 1.

    Raises:
        GeometryError: not three finite numbers, or all of them 0.
    """
    way = np.asarray(values, dtype=np.float64)
    if way.shape != (3,) or not np.isfinite(way).all() or not way.any():
        raise GeometryError("must be three finite numbers, not all 0", *path)
    return unit(way / np.abs(way).max())


def unit(vectors: Floats) -> Floats:
    """Return vectors (..., 3) of length 1; zero vectors stay zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros(vectors.shape), where=length != 0)


def corner_angles(positions: Floats, triangles: Integers) -> Floats:
    """Return (F, 3) the inner angle at each corner in radians; 0 in degenerate triangles."""
    corners = positions[triangles]
    ahead = unit(np.roll(corners, -1, axis=1) - corners)
    behind = unit(np.roll(corners, 1, axis=1) - corners)
    return np.where(
        (face_vectors(positions, triangles) ** 2).sum(axis=1)[:, None] > 0,
        np.arccos(np.clip((ahead * behind).sum(axis=2), -1, 1)),
        0.0,
    )


def gathered_normals(positions: Floats, triangles: Integers, corners: Integers, weight: str, count: int = 0) -> Floats:
    """Return (E, 3) the mean normal, of length 1, of the corners of each element.

    Args:
        positions: (V, 3).
        triangles: (F, 3).
        corners: (F, 3) elements; negative ones count nowhere.
        weight: how a triangle counts at its corner: by its ``angle`` there, its ``area``, ``both`` or ``face`` (alike).
        count: E at least.
    """
    vectors = face_vectors(positions, triangles)
    faces = unit(vectors)
    shares = np.ones(triangles.shape)
    if weight in ("angle", "both"):
        shares = shares * corner_angles(positions, triangles)
    if weight in ("area", "both"):
        shares = shares * np.linalg.norm(vectors, axis=1)[:, None]
    known = corners >= 0
    flat = corners[known]
    values = (faces[:, None] * shares[..., None])[known]
    size = max(count, int(flat.max(initial=-1)) + 1)
    return unit(np.stack([np.bincount(flat, weights=values[:, k], minlength=size) for k in range(3)], axis=1))


def vertex_normals(positions: Floats, triangles: Integers) -> Floats:
    """Return (V, 3) angle-weighted normals of length 1."""
    return gathered_normals(positions, triangles, triangles, "angle", len(positions))


def barycentric(points: Floats, corners: Floats) -> Floats:
    """Return (F, P, 3) weights, none negative, of triangles' corners (F, 3, 3) for points of each (F, P, 3)."""
    second, third = weight_gradients(corners)
    return corner_weights(points - corners[:, :1], second[:, None], third[:, None])


def weight_gradients(corners: Floats) -> tuple[Floats, Floats]:
    """Return the gradients, (F, 3) each, of the weights of the second and third corner of triangles (F, 3, 3)."""
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(edge, other)
    normal /= np.maximum((normal**2).sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return np.cross(other, normal), np.cross(normal, edge)


def corner_weights(local: Floats, second: Floats, third: Floats) -> Floats:
    """Return (..., 3) weights, none negative, at (..., 3) from the first corner, of gradients that broadcast to it."""
    weights = np.empty(np.broadcast_shapes(local.shape, second.shape))
    first, along, across = np.moveaxis(weights, -1, 0)
    np.einsum("...d,...d->...", local, second, out=along)
    np.einsum("...d,...d->...", local, third, out=across)
    np.subtract(1 - along, across, out=first)
    np.maximum(weights, 0, out=weights)
    weights /= np.maximum(first + along + across, np.finfo(float).tiny)[..., None]
    return weights
