"""The renderer's definition, ray by ray and triangle by triangle in float64, without a tree.

Intersections as in Moeller and Trumbore, "Fast, Minimum Storage Ray/Triangle Intersection" (1997).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.geometry.render.scene import Camera, Scene


@dataclass
class Soup:
    """All triangles of a scene in the world; T of them."""

    points: np.ndarray  # (T, 3, 3)
    normals: np.ndarray  # (T, 3, 3)
    uvs: np.ndarray  # (T, 3, 2)
    instances: np.ndarray  # (T,)
    slots: np.ndarray  # (T,)


def soup_of(scene: Scene) -> Soup:
    parts = []
    for number, instance in enumerate(scene.instances):
        mesh, pose = instance.mesh, np.asarray(instance.pose, float)
        points = mesh.positions[mesh.triangles].astype(float) @ pose[:3, :3].T + pose[:3, 3]
        normals = mesh.normals[mesh.triangles].astype(float) @ np.linalg.inv(pose[:3, :3])
        normals /= np.linalg.norm(normals, axis=2, keepdims=True)
        uvs = mesh.uvs[mesh.triangles].astype(float)
        parts.append((points, normals, uvs, np.full(len(points), number), mesh.slots))
    return Soup(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def hit(soup: Soup, origin: np.ndarray, direction: np.ndarray) -> tuple[float, int, float, float]:
    """Return distance, triangle and the weights of its second and third corner; infinity and -1 for none."""
    edge1, edge2 = soup.points[:, 1] - soup.points[:, 0], soup.points[:, 2] - soup.points[:, 0]
    p = np.cross(direction, edge2)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / (edge1 * p).sum(1)
        s = origin - soup.points[:, 0]
        u = (s * p).sum(1) * inverse
        q = np.cross(s, edge1)
        v = (q @ direction) * inverse
        t = (edge2 * q).sum(1) * inverse
        met = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    if not met.any():
        return np.inf, -1, 0.0, 0.0
    best = int(np.where(met, t, np.inf).argmin())
    return float(t[best]), best, float(u[best]), float(v[best])


def texel(texture: np.ndarray, u: float, v: float) -> np.ndarray:
    """Return the bilinear colour, linear, of the sharpest level; v is up, and textures repeat."""
    height, width = texture.shape[:2]
    x, y = u * width - 0.5, (1 - v) * height - 0.5
    left, top = int(np.floor(x)), int(np.floor(y))
    total = np.zeros(3)
    for row, wy in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, wx in ((left, 1 - (x - left)), (left + 1, x - left)):
            code = texture[row % height, column % width] / 255
            total += wx * wy * np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    return total


def slow_render(scene: Scene, camera: Camera) -> dict[str, np.ndarray]:
    soup = soup_of(scene)
    size = camera.height, camera.width
    out = {
        "depth": np.full(size, np.inf),
        "instances": np.full(size, -1),
        "normals": np.zeros((*size, 3)),
        "light": np.zeros((*size, 3)),
    }
    rotation = camera.world_to_camera[:3, :3]
    origin = -rotation.T @ camera.world_to_camera[:3, 3]
    for row, column in np.ndindex(size):
        ray = rotation.T @ np.linalg.solve(camera.intrinsics, [column + 0.5, row + 0.5, 1.0])
        distance, triangle, u, v = hit(soup, origin, ray)
        if triangle < 0:
            height = max(ray[2] / np.linalg.norm(ray), 0)
            horizon, zenith = map(np.array, scene.sky)
            out["light"][row, column] = horizon * (1 - height) + zenith * height
            continue
        weights = np.array([1 - u - v, u, v])
        flat = np.cross(*(soup.points[triangle, 1:] - soup.points[triangle, :1]))
        normal = weights @ soup.normals[triangle]
        normal /= np.linalg.norm(normal)
        if (flat @ normal) * (flat @ ray) > 0:  # seen from behind; this also holds for mirrored poses
            normal = -normal
        point, off = origin + distance * ray, -np.sign(flat @ ray) * flat / np.linalg.norm(flat) * 1e-3
        # Hanika: the point on the curved surface that the triangle stands for.
        corner_normals = soup.normals[triangle] * np.sign(soup.normals[triangle] @ normal)[:, None]
        below = np.minimum(((point - soup.points[triangle]) * corner_normals).sum(1), 0)
        curved = np.abs(below).max() > 1e-9
        point = point - (weights * below) @ corner_normals
        light = np.array(scene.ambient) * (0.75 + 0.25 * normal[2])
        for lamp in scene.lights:
            toward = np.array(lamp.direction) / np.linalg.norm(lamp.direction)
            if (
                normal @ toward > 0
                and (curved or off @ toward > 0)
                and not (lamp.shadows and hit(soup, point + off, toward)[1] >= 0)
            ):
                light = light + np.array(lamp.color) * (normal @ toward)
        instance = scene.instances[soup.instances[triangle]]
        material = instance.mesh.materials[soup.slots[triangle]]
        color = np.multiply(material.color, instance.tint)
        if material.texture is not None:
            color = color * texel(material.texture, *(weights @ soup.uvs[triangle]))
        out["depth"][row, column] = distance
        out["instances"][row, column] = soup.instances[triangle]
        out["normals"][row, column] = normal
        out["light"][row, column] = light * color
    return out
