from __future__ import annotations

import gc

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.mesh import Material
from lab.geometry.render import textures
from lab.geometry.render.camera import camera_of_view, look_at
from lab.geometry.render.rendering import render
from lab.geometry.render.scene import Instance, Scene
from lab.geometry.render.textures import SRGB_TO_LINEAR, Pyramid
from tests.unit.geometry.render.solids import square


def test_a_texture_that_fills_the_picture_is_the_picture() -> None:
    """A square seen from above, one texel for each pixel: v is up, u to the right."""
    pytest.importorskip("embreex")
    texture = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    mesh = square(1.0, Material("picture", (1.0, 1.0, 1.0), texture=texture))
    view = 2 * np.degrees(np.arctan(0.5 / 7))
    camera = camera_of_view(12, 12, view, look_at((0, 0, 7), (0, 0, 0), up=(0, 1, 0)))
    picture = render(Scene((Instance(mesh, np.eye(4)),), (), ambient=(1.0, 1.0, 1.0)), camera)
    # One code: the table of 4096 steps from linear to sRGB is coarse where it is dark.
    assert np.abs(picture.color.astype(int) - texture).max() <= 1


def test_a_distant_texture_is_its_mean() -> None:
    pytest.importorskip("embreex")
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[::2] = 255
    mesh = square(1.0, Material("stripes", (1.0, 1.0, 1.0), texture=texture))
    camera = camera_of_view(4, 4, 60, look_at((0, 0, 1.0), (0, 0, 0), up=(0, 1, 0)))
    picture = render(Scene((Instance(mesh, np.eye(4)),), (), ambient=(1.0, 1.0, 1.0)), camera)
    middle = picture.color[1:3, 1:3].astype(int)
    assert np.abs(middle - 188).max() <= 1  # half the light is 0.735 of the code


def test_textures_repeat_and_are_smooth_across_the_border() -> None:
    texture = np.zeros((1, 2, 3), np.uint8)
    texture[0, 1] = 255
    places = np.array([0.25, 0.75, 0.0, 1.0, -0.25, 2.75, 0.5], np.float32)
    rows = np.full(7, 0.3, np.float32)
    found = Pyramid(texture).sample(places, rows, np.zeros(7, np.float32))
    np.testing.assert_allclose(found, np.tile([0, 1, 0.5, 0.5, 1, 1, 0.5], (3, 1)), atol=1e-6)


def test_levels_keep_the_mean() -> None:
    texture = np.random.default_rng(1).integers(0, 256, (16, 8, 3), dtype=np.uint8)
    pyramid = Pyramid(texture)
    assert pyramid.sizes.tolist() == [[16, 8], [8, 4], [4, 2], [2, 1], [1, 1]]
    np.testing.assert_allclose(pyramid.texels[-1, :3], SRGB_TO_LINEAR[texture].mean((0, 1)), rtol=1e-5)


def test_what_is_no_texture_is_one_line() -> None:
    with pytest.raises(GeometryError, match=r"a texture is \(h, w, 3\) uint8, not \(4, 4\) float64"):
        Pyramid(np.zeros((4, 4)))


def test_pyramids_go_with_their_textures() -> None:
    texture = np.zeros((2, 2, 3), np.uint8)
    key = id(texture)
    assert textures._pyramids(texture) is textures._pyramids(texture)
    del texture
    gc.collect()
    assert key not in textures._pyramids._found
