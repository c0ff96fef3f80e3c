from __future__ import annotations

import numpy as np
import pytest

from lab.geometry.render.camera import camera_of_view, look_at
from lab.geometry.render.rendering import render, render_all, visible
from lab.geometry.render.scene import NOTHING, Instance, Light, Scene
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
    # Worst error 3.1e-7 of the depth.
    np.testing.assert_allclose(picture.depth[seen], expected[seen], rtol=2e-6)
    assert np.isinf(picture.depth[~seen]).all()
    np.testing.assert_array_equal(picture.normals[seen], np.broadcast_to([0, 0, 1], (seen.sum(), 3)))
    assert not picture.normals[~seen].any()
    assert (picture.categories == NOTHING).all()


def test_depth_and_normals_of_a_sphere() -> None:
    """A fine sphere: the triangles lie within 3e-4 of it."""
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
    # Worst errors: 0.0043 m, 0.0075.
    np.testing.assert_allclose(picture.depth.reshape(-1)[inside], depth[inside], atol=0.01)
    normals = (from_centre + depth[:, None] * directions) / 2
    np.testing.assert_allclose(picture.normals.reshape(-1, 3)[inside], normals[inside], atol=0.01)


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


def test_boxes_are_those_of_the_visible_pixels() -> None:
    instances = np.full((5, 7), NOTHING, np.int32)
    instances[1:3, 2:6] = 2
    instances[4, 6] = 0
    boxes, pixels = visible(instances, 4)
    assert boxes.tolist() == [[6, 4, 7, 5], [0, 0, 0, 0], [2, 1, 6, 3], [0, 0, 0, 0]]
    assert pixels.tolist() == [1, 0, 8, 0]


def test_several_cameras_are_each_alone() -> None:
    scene = Scene((Instance(square(10.0), np.eye(4)), Instance(sphere(8), at(0, 0, 1), 1)))
    other = camera_of_view(33, 17, 90, look_at((-3, 0, 2), (0, 0, 0)))
    for together, camera in zip(render_all(scene, [CAMERA, other]), [CAMERA, other], strict=True):
        alone = render(scene, camera)
        for name in ("color", "depth", "normals", "instances", "categories", "boxes", "pixels"):
            np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))
