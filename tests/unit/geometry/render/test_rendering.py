from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.mesh import Material
from lab.geometry.render import rendering, shading
from lab.geometry.render.camera import camera_of_view, look_at
from lab.geometry.render.rendering import edges, render, render_all, visible
from lab.geometry.render.scene import NOTHING, Camera, Instance, Light, Rendering, Scene
from tests.unit.geometry.render.solids import at, sphere, square

pytest.importorskip("embreex")
CAMERA = camera_of_view(64, 48, 60, look_at((4, -6, 3), (0, 0, 0)))
PLACES = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(48) + 0.5), axis=-1)
DIRECTIONS = (
    np.concatenate([(PLACES - (32, 24)) / CAMERA.intrinsics[0, 0], np.ones((48, 64, 1))], axis=-1)
    @ CAMERA.world_to_camera[:3, :3]
)


def test_depth_and_normals_of_a_plane() -> None:
    scene = Scene((Instance(square(100.0), at(1, 2, -0.5)),))
    picture = render(scene, CAMERA)
    expected = (-0.5 - 3) / DIRECTIONS[..., 2]
    seen = picture.instances == 0
    assert seen.sum() > 2000
    # Worst error 1.5e-7 of the depth.
    np.testing.assert_allclose(picture.depth[seen], expected[seen], rtol=1e-6)
    assert np.isinf(picture.depth[~seen]).all()
    np.testing.assert_array_equal(picture.normals[seen], np.broadcast_to([0, 0, 1], (seen.sum(), 3)))
    assert not picture.normals[~seen].any()
    assert (picture.categories == NOTHING).all()


def test_depth_and_normals_of_a_sphere() -> None:
    """A fine sphere: the triangles lie within 3e-4 of its radius."""
    scene = Scene((Instance(sphere(64), at(0.5, 0, 0, scale=2), category=3),))
    picture = render(scene, CAMERA)
    directions = DIRECTIONS.reshape(-1, 3)
    from_centre = np.array([4.0, -6, 3]) - (0.5, 0, 0)
    a, b, c = (directions**2).sum(1), directions @ from_centre, from_centre @ from_centre - 4
    root = b**2 - a * c
    inside = root > 0.05 * a  # not at the rim, where a polyhedron is smaller
    depth = (-b - np.sqrt(np.where(inside, root, 0))) / a
    seen = picture.instances.reshape(-1) == 0
    assert seen[inside].all()
    assert (picture.categories.reshape(-1)[seen] == 3).all()
    # Worst errors: 0.0063 m of depth, 0.0031 of a normal, both of the polyhedron.
    np.testing.assert_allclose(picture.depth.reshape(-1)[inside], depth[inside], atol=0.01)
    normals = (from_centre + depth[:, None] * directions) / 2
    np.testing.assert_allclose(picture.normals.reshape(-1, 3)[inside], normals[inside], atol=0.005)


def test_light_falls_by_the_cosine_and_shadows_are_where_they_must_be() -> None:
    light = Light((1.0, 0.0, 1.0), (0.5, 0.5, 0.5))
    ground, lid = square(40.0), square(2.0)
    scene = Scene((Instance(ground, np.eye(4)), Instance(lid, at(0, 0, 3))), (light,), ambient=(0.1, 0.1, 0.1))
    above = camera_of_view(80, 80, 60, look_at((0, 0, 20), (0, 0, 0), up=(0, 1, 0)))
    picture = render(scene, above)
    linear = 0.1 + 0.5 * np.sqrt(0.5), 0.1
    bright, dark = (round(255 * (1.055 * value ** (1 / 2.4) - 0.055)) for value in linear)
    pixels = np.argwhere(picture.instances == 0)
    focal = above.intrinsics[0, 0]
    x, y = (pixels[:, 1] + 0.5 - 40) * 20 / focal, (40 - pixels[:, 0] - 0.5) * 20 / focal
    shadow = (np.abs(x + 3) < 1) & (np.abs(y) < 1)
    expected = np.where(shadow, dark, bright)
    colors = picture.color[pixels[:, 0], pixels[:, 1]].astype(int)
    edge = (np.abs(np.abs(x + 3) - 1) < 1e-3) | (np.abs(np.abs(y) - 1) < 1e-3)
    assert shadow.sum() > 20
    assert np.abs(colors - expected[:, None])[~edge].max() <= 1


def test_a_coarse_ball_throws_no_shadow_upon_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its triangles stand for a sphere, which is dark where it faces away from the light and nowhere else."""

    def picture(shadows: bool) -> np.ndarray:
        ball = Instance(sphere(6), at(0, 0, 0, scale=2))
        scene = Scene((ball,), (Light((-1, 0.5, 0.5), shadows=shadows),), ambient=(0.1, 0.1, 0.1))
        return render(scene, CAMERA).color

    np.testing.assert_array_equal(picture(True), picture(False))
    monkeypatch.setattr(shading, "_lifts", lambda prepared, instance, rows, weights, side: np.zeros((3, len(rows))))
    assert (picture(True) != picture(False)).any(2).sum() > 10


def test_boxes_are_those_of_the_visible_pixels() -> None:
    instances = np.full((5, 7), NOTHING, np.int32)
    instances[1:3, 2:6] = 2
    instances[4, 6] = 0
    boxes, pixels = visible(instances, 4)
    assert boxes.tolist() == [[6, 4, 7, 5], [0, 0, 0, 0], [2, 1, 6, 3], [0, 0, 0, 0]]
    assert pixels.tolist() == [1, 0, 8, 0]


FIELDS = ("color", "depth", "normals", "instances", "categories", "boxes", "pixels")


def test_several_cameras_are_each_alone() -> None:
    scene = Scene((Instance(square(10.0), np.eye(4)), Instance(sphere(8), at(0, 0, 1), 1)))
    other = camera_of_view(33, 17, 90, look_at((-3, 0, 2), (0, 0, 0)))
    for together, camera in zip(render_all(scene, [CAMERA, other]), [CAMERA, other], strict=True):
        alone = render(scene, camera)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))


def test_several_rays_a_pixel_smooth_edges_and_leave_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of the picture of twice the size, in linear light, on both sides of edges; elsewhere nothing changes."""
    scene = Scene((Instance(square(2.0), at(0, 0, 0.5)),), ambient=(0.5, 0.5, 0.5))
    once, fine = render(scene, CAMERA), render(scene, CAMERA, samples=2)
    for name in FIELDS[1:]:
        np.testing.assert_array_equal(getattr(once, name), getattr(fine, name))
    large = render(scene, Camera(128, 96, np.diag([2.0, 2, 1]) @ CAMERA.intrinsics, CAMERA.world_to_camera)).color / 255
    linear = np.where(large <= 0.04045, large / 12.92, ((large + 0.055) / 1.055) ** 2.4)
    mean = linear.reshape(48, 2, 64, 2, 3).mean((1, 3))
    code = 255 * (1.055 * mean ** (1 / 2.4) - 0.055)
    changed = edges(once.color, once.instances)
    assert 50 < changed.sum() < 400
    assert np.abs(fine.color - code)[changed].max() < 1.5
    np.testing.assert_array_equal(fine.color[~changed], once.color[~changed])
    monkeypatch.setattr(rendering, "_MOST_RAYS", 300)
    for name in FIELDS:  # a picture may take any number of bands
        np.testing.assert_array_equal(getattr(render(scene, CAMERA, samples=2), name), getattr(fine, name))


def test_edges_are_steps_of_colour_or_instance() -> None:
    color, instances = np.full((4, 5, 3), 90, np.uint8), np.zeros((4, 5), np.int32)
    assert not edges(color, instances).any()
    color[0, 0, 2] = 97
    instances[3, 3:] = 4
    color[2, 0] = 84
    expected = np.array([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(edges(color, instances), expected.astype(bool))


def seeded(seed: int) -> tuple[Scene, Camera]:
    generator = np.random.default_rng(seed)
    ball, ground = sphere(7), square(20.0)
    places = generator.uniform(-3, 3, (6, 3))
    instances = [Instance(ball, at(x, y, 0.2 + abs(z)), k) for k, (x, y, z) in enumerate(places)]
    return Scene((Instance(ground, np.eye(4)), *instances)), CAMERA


def digest(seed: int) -> str:
    found: Rendering = render(*seeded(seed), samples=2)
    return hashlib.sha256(b"".join(getattr(found, name).tobytes() for name in FIELDS)).hexdigest()


def test_bytes_are_equal_in_any_number_of_processes() -> None:
    """Here, in workers that are forked after this process has rendered, and in a fresh one that has one core alone."""
    here = [digest(seed) for seed in range(4)]
    assert len(set(here)) == 4
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(digest, range(4), chunksize=1).get(timeout=60) == here
    words = "import sys; from tests.unit.geometry.render.test_rendering import digest; print(*map(digest, (3, 0)))"
    core = str(min(os.sched_getaffinity(0)))
    command = [sys.executable, "-c", words]
    fresh = subprocess.run(["taskset", "-c", core, *command], capture_output=True, text=True, check=True, timeout=60)
    assert fresh.stdout.split() == [here[3], here[0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instances": (Instance(square(), np.diag([1.0, 2, 1, 1])),)}, "pose of instance 0 may turn, shift and scale"),
        ({"instances": (Instance(square(), np.full((4, 4), np.nan)),)}, "pose of instance 0"),
        ({"instances": (Instance(square(), np.eye(3)),)}, r"pose of an instance is \(4, 4\), not \(3, 3\)"),
        ({"instances": (Instance(square(), np.zeros((4, 4))),)}, "pose of instance 0"),
        ({"lights": (Light((0, 0, 0)),)}, "a light's direction"),
        ({"lights": (Light(color=(0.1, 0.1, -0.1)),)}, "the light of a scene has a colour"),
        ({"ambient": (np.nan, 0, 0)}, "the ambient of a scene"),
        ({"sky": ((1, 1, 1), (1, np.inf, 1))}, "the sky of a scene"),
        ({"instances": (Instance(square(), np.eye(4), tint=(np.nan, 1, 1)),)}, "material 'white' has a colour"),
    ],
)
def test_a_scene_that_cannot_be_is_one_line(change: dict[str, Any], message: str) -> None:
    scene = Scene((Instance(square(100.0), np.eye(4)),))
    with pytest.raises(GeometryError, match=message):
        render(replace(scene, **change), CAMERA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triangles": np.array([[0, 1, 4]], np.int32)}, r"a vertex outside of 0 \.\. 3"),
        ({"slots": np.array([0, 1], np.int32)}, "a slot outside of its 1 materials"),
        ({"positions": np.full((4, 3), np.inf, np.float32)}, "positions of a static mesh are finite"),
        ({"uvs": np.zeros((3, 2), np.float32)}, "has 4 positions and 3 uvs"),
        ({"normals": np.full((4, 3), np.nan, np.float32)}, "normals of a static mesh are finite"),
        ({"materials": (Material("odd", (0.1, -1.0, 0.1)),)}, "material 'odd' has a colour"),
    ],
)
def test_a_mesh_that_cannot_be_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        render(Scene((Instance(replace(square(), **change), np.eye(4)),)), CAMERA)


def test_no_samples_are_one_line() -> None:
    with pytest.raises(GeometryError, match="1 or more, not 0"):
        render(Scene(()), CAMERA, samples=0)


def test_an_empty_scene_is_sky() -> None:
    picture = render(Scene((), sky=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))), CAMERA)
    assert (picture.color == 188).all()
    assert np.isinf(picture.depth).all()
    assert picture.boxes.shape == (0, 4)
