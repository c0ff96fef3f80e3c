from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.mesh import Material
from lab.geometry.render.portrait import portrait, turntable, write_gif
from tests.unit.geometry.render.solids import sphere, square, static

pytest.importorskip("embreex")
RED = Material("red", (0.8, 0.05, 0.05))


def reddish(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0] > 1.5 * picture[..., 1].astype(float)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_mesh_of_any_size_fills_the_picture_and_is_whole(scale: float) -> None:
    ball = sphere(8, RED)
    mesh = static(ball.positions.astype(float) * scale + 5 * scale, ball.triangles, RED)
    picture = portrait(mesh, 64)
    assert picture.shape == (64, 64, 3)
    red = reddish(picture)
    # A lit disc of about 50 pixels across; its darkest side may be grey.
    assert 1000 < red.sum() < 2400
    assert not np.concatenate([red[0], red[-1], red[:, 0], red[:, -1]]).any()


def test_a_turntable_turns_once_around_and_is_a_gif(tmp_path: Path) -> None:
    from PIL import Image

    flat = square(1.0, RED)
    upright = static(flat.positions[:, [0, 2, 1]].astype(float), flat.triangles, RED)
    frames = turntable(upright, frames=4, size=48)
    assert len(frames) == 4
    # Half a turn later a square shows its back, as wide as its front.
    wide = [int(reddish(frame).any(0).sum()) for frame in frames]
    assert wide[0] != wide[1]
    assert abs(wide[0] - wide[2]) <= 2
    assert abs(wide[1] - wide[3]) <= 2
    write_gif(frames, tmp_path / "part.gif")
    with Image.open(tmp_path / "part.gif") as gif:
        assert gif.n_frames == 4
        assert gif.size == (48, 48)
        shown = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(shown - frames[0]).mean() < 6


def test_what_cannot_be_shown_is_one_line() -> None:
    with pytest.raises(GeometryError, match="without triangles"):
        portrait(static(np.zeros((3, 3)), np.zeros((0, 3), int), RED))
    with pytest.raises(GeometryError, match="elevation is 5 to 90 degrees, not 2"):
        portrait(square(), elevation=2)
    with pytest.raises(GeometryError, match="at least one frame, not 0"):
        turntable(square(), frames=0)
