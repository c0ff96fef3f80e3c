from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.render.camera import camera_of_view, check_camera, look_at, project
from lab.geometry.render.film import Film

CAMERA = camera_of_view(40, 30, 90, look_at((1, 2, 3), (1, 12, 3)))


def test_a_camera_looks_where_it_is_told() -> None:
    """It looks along y: x is right, up is up."""
    pixels, depth = project(CAMERA, [(1, 12, 3), (11, 12, 3), (1, 12, 8), (1, -8, 3)])
    np.testing.assert_allclose(depth, [10, 10, 10, -10])
    np.testing.assert_allclose(pixels[:3], [[20, 15], [40, 15], [20, 5]], atol=1e-12)


def test_rays_go_through_the_centres_of_pixels() -> None:
    tilted = camera_of_view(40, 30, 70, look_at((1, 2, 3), (4, -1, 0.5)))
    skewed = replace(tilted, intrinsics=tilted.intrinsics + np.array([[3.0, 0.5, 2], [0, -2, 1], [0, 0, 0]]))
    film = Film(skewed)
    places = np.stack(np.meshgrid(np.arange(40) + 0.5, np.arange(30) + 0.5), axis=-1)
    bands = list(film.bands(500))
    assert bands == [slice(0, 12), slice(12, 24), slice(24, 30)]
    for band in bands:
        rays = film.centres(band)
        pixels, depth = project(skewed, (rays.origin + 7 * rays.directions).T)
        np.testing.assert_allclose(film.picture(depth, band), np.full(places[band].shape[:2], 7), rtol=1e-6)
        np.testing.assert_allclose(film.picture(pixels.T, band), places[band], atol=1e-4)
    assert list(film.bands(1))[-2:] == [slice(24, 28), slice(28, 30)]
    fine = film.within(np.array([3, 29]), np.array([7, 0]), 2)
    pixels, _ = project(skewed, (fine.origin + 7 * fine.directions).T)
    within = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
    np.testing.assert_allclose(pixels, np.concatenate([within + shift for shift in ((7, 3), (0, 29))]), atol=1e-4)


def test_looking_straight_down_is_defined() -> None:
    pixels, _ = project(camera_of_view(10, 10, 90, look_at((0, 0, 5), (0, 0, 0))), [(0, 0, 0), (0, 2.5, 0)])
    np.testing.assert_allclose(pixels[0], [5, 5])
    assert np.isfinite(pixels).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "at least one pixel, not 0 x 30"),
        ({"intrinsics": np.eye(4)}, r"not \(4, 4\) and \(4, 4\)"),
        ({"intrinsics": np.full((3, 3), np.nan)}, "finite"),
        ({"intrinsics": np.diag([1.0, 0, 1])}, "invert"),
        ({"intrinsics": np.diag([2.0, 2, 2])}, r"row \(0, 0, 1\)"),
        ({"world_to_camera": np.diag([2.0, 2, 2, 1])}, "no rotation"),
        ({"world_to_camera": np.diag([1.0, 1, -1, 1])}, "no rotation"),
    ],
)
def test_a_camera_that_cannot_be_is_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        check_camera(replace(CAMERA, **change))


def test_helpers_refuse_what_cannot_be() -> None:
    with pytest.raises(GeometryError, match="between 0 and 180 degrees, not 180"):
        camera_of_view(4, 4, 180, np.eye(4))
    with pytest.raises(GeometryError, match="at least one pixel"):
        camera_of_view(4, 0, 90, np.eye(4))
    with pytest.raises(GeometryError, match="where it stands"):
        look_at((1, 2, 3), (1, 2, 3))
