"""Pictures beside those of a slow renderer, and that mistakes would be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lab.geometry.mesh import Material
from lab.geometry.render import shading
from lab.geometry.render.camera import camera_of_view, look_at
from lab.geometry.render.embree import Hits, InstanceTree
from lab.geometry.render.rendering import render
from lab.geometry.render.scene import Camera, Instance, Light, Scene
from lab.geometry.render.textures import Pyramid
from tests.unit.geometry.render.slow import slow_render
from tests.unit.geometry.render.solids import sphere, square, static

pytest.importorskip("embreex")
TOLERANCES = {"instances": 0, "depth": 2e-5, "normals": 1e-4, "color": 1.01}
"""Largest differences, in indices, metres, and sRGB codes."""


def turned(generator: np.random.Generator, scale: float, place: tuple[float, float, float]) -> np.ndarray:
    pose = np.eye(4)
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    pose[:3, :3] = rotation * scale  # of either handedness
    pose[:3, 3] = place
    return pose


@pytest.fixture(scope="module")
def case() -> tuple[Scene, Camera, dict[str, np.ndarray]]:
    generator = np.random.default_rng(3)
    texture = generator.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    tetrahedron = static(
        np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
        np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]),
        Material("red", (0.9, 0.2, 0.1)),
    )
    ball = sphere(6, Material("blue", (0.2, 0.3, 0.9)))
    ground = square(12.0, Material("ground", (0.9, 0.9, 0.9), texture=texture))
    scene = Scene(
        (
            Instance(ground, np.eye(4)),
            Instance(tetrahedron, turned(generator, 0.7, (-1.3, 0.2, 1.0)), 1),
            Instance(ball, turned(generator, 0.9, (0.6, -0.5, 1.1)), 2, (0.9, 1.0, 0.8)),
            Instance(tetrahedron, turned(generator, 0.8, (2.0, 1.5, 0.9)), 1, (0.3, 1.0, 1.0)),
            Instance(ball, turned(generator, 1.2, (-1.5, 2.5, 1.5)), 2),
        ),
        (Light((0.6, -0.4, 0.7), (0.6, 0.5, 0.4)), Light((-0.8, 0.1, 0.3), (0.2, 0.2, 0.3))),
        ambient=(0.15, 0.2, 0.25),
    )
    camera = camera_of_view(34, 27, 55, look_at((0.5, -6, 3.2), (0, 0, 0.8)))
    skewed = camera.intrinsics + np.array([[0, 0.7, 1.3], [0, 2.0, -0.4], [0, 0, 0]])
    camera = replace(camera, intrinsics=skewed)
    return scene, camera, slow_render(scene, camera)


def differences(case: tuple[Scene, Camera, dict[str, np.ndarray]], drawn: Camera | None = None) -> dict[str, float]:
    """Return the largest difference of each output, but for 3 pixels in 1000: those on edges, by rounding."""
    scene, camera, slow = case
    picture = render(scene, drawn or camera)
    light = np.clip(slow["light"], 0, 1)
    code = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    both = np.isfinite(picture.depth) & np.isfinite(slow["depth"])
    errors = {
        "instances": np.abs(picture.instances - slow["instances"]),
        "depth": np.where(both, np.abs(np.where(both, picture.depth, 0) - np.where(both, slow["depth"], 0)), 0),
        "normals": np.abs(picture.normals - slow["normals"]).max(2),
        "color": np.abs(picture.color - code).max(2),
    }
    rank = round(0.997 * camera.width * camera.height)
    return {name: float(np.sort(error, axis=None)[rank]) for name, error in errors.items()}


def test_pictures_equal_those_of_a_slow_renderer(case: tuple[Scene, Camera, dict[str, np.ndarray]]) -> None:
    """Worst: instances 0, depth 1.9e-6 m, normals 9.8e-7, colour 0.70 codes (rounding alone is 0.5)."""
    assert len(np.unique(case[2]["instances"])) == 6
    found = differences(case)
    assert all(found[name] <= TOLERANCES[name] for name in TOLERANCES), found


def swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    closest = InstanceTree.closest

    def wrong(self: InstanceTree, origins: np.ndarray, directions: np.ndarray) -> Hits:
        hits = closest(self, origins, directions)
        return hits._replace(u=hits.v, v=hits.u)

    monkeypatch.setattr(InstanceTree, "closest", wrong)


def upside_down(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Pyramid.sample
    monkeypatch.setattr(Pyramid, "sample", lambda self, u, v, width: sample(self, u, 1 - v, width))


def not_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shading, "_rotated", lambda rotations, vectors: vectors.copy())


def no_shadows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InstanceTree, "blocked", lambda self, origins, directions: np.zeros(origins.shape[1], bool))


@pytest.mark.parametrize(
    ("mutant", "seen_in"),
    [(swapped, "normals"), (upside_down, "color"), (not_turned, "normals"), (no_shadows, "color")],
)
def test_a_mutant_is_seen(
    case: tuple[Scene, Camera, dict[str, np.ndarray]],
    monkeypatch: pytest.MonkeyPatch,
    mutant: Callable[[pytest.MonkeyPatch], None],
    seen_in: str,
) -> None:
    mutant(monkeypatch)
    assert differences(case)[seen_in] > 10 * TOLERANCES[seen_in]


def test_half_a_pixel_is_seen(case: tuple[Scene, Camera, dict[str, np.ndarray]]) -> None:
    shift = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    wrong = replace(case[1], intrinsics=case[1].intrinsics + shift)
    found = differences(case, wrong)
    assert found["instances"] > 0
    assert found["depth"] > 100 * TOLERANCES["depth"]
