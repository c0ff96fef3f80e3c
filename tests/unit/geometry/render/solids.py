"""Meshes whose pictures are known in closed form."""

from __future__ import annotations

import numpy as np

from lab.geometry.bake import bake
from lab.geometry.mesh import DynamicMesh, Material, Overlay
from lab.geometry.static_mesh import StaticMesh


def static(
    points: np.ndarray, triangles: np.ndarray, material: Material | None = None, **overlays: object
) -> StaticMesh:
    zeros = np.zeros(len(triangles), np.int64)
    material = material or Material("white", (1.0, 1.0, 1.0))
    return bake(DynamicMesh(np.asarray(points, float), np.asarray(triangles), zeros, zeros, (material,), **overlays))


def square(size: float = 1.0, material: Material | None = None) -> StaticMesh:
    """A square around the origin that faces up; its UV are 0..1."""
    corners = np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    points = np.column_stack([(corners - 0.5) * size, np.zeros(4)])
    return static(points, triangles, material, uvs=(Overlay(corners, triangles),))


def sphere(steps: int, material: Material | None = None) -> StaticMesh:
    """A unit sphere of 2 * steps sectors and steps rings, with its exact normals."""
    theta, phi = np.linspace(0, np.pi, steps + 1), np.linspace(0, 2 * np.pi, 2 * steps, endpoint=False)
    grid = np.stack(
        [
            np.outer(np.sin(theta), np.cos(phi)),
            np.outer(np.sin(theta), np.sin(phi)),
            np.outer(np.cos(theta), np.ones_like(phi)),
        ],
        axis=-1,
    )
    points = np.concatenate([[[0.0, 0, 1]], grid[1:-1].reshape(-1, 3), [[0.0, 0, -1]]])
    number = 1 + np.arange((steps - 1) * 2 * steps).reshape(steps - 1, 2 * steps)
    upper, lower = number[:-1], number[1:]
    right = np.roll(number, -1, axis=1)
    quads = np.stack([upper, lower, right[1:], right[:-1]], axis=-1).reshape(-1, 4)
    top = np.stack([np.zeros(2 * steps, int), number[0], right[0]], axis=-1)
    bottom = np.stack([np.full(2 * steps, len(points) - 1), right[-1], number[-1]], axis=-1)
    triangles = np.concatenate([top, quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], bottom])
    return static(points, triangles, material, normals=Overlay(points, triangles))


def at(x: float, y: float, z: float, scale: float = 1.0) -> np.ndarray:
    pose = np.eye(4) * scale
    pose[:, 3] = (x, y, z, 1)
    return pose
