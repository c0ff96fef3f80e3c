from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from lab.geometry.render import sheet as room
from lab.geometry.render.camera import camera_of_view, look_at
from lab.geometry.render.rendering import render
from lab.geometry.render.scene import Instance, Scene
from lab.geometry.render.sheet import sheet
from tests.unit.geometry.render.solids import at, sphere, square

pytest.importorskip("embreex")


def test_a_sheet_shows_all_labels() -> None:
    scene = Scene((Instance(square(30.0), np.eye(4)), Instance(sphere(12), at(0, 0, 1), 4)))
    picture = render(scene, camera_of_view(40, 30, 50, look_at((0, -6, 2), (0, 0, 1))))
    shown = sheet(picture)
    assert shown.shape == (60, 80, 3)
    left, top, right, bottom = picture.boxes[1].astype(int)
    frame = np.zeros((30, 40), bool)
    frame[top:bottom, [left, right - 1]] = frame[[top, bottom - 1], left:right] = True
    assert (shown[:30, :40][frame] == (255, 230, 40)).all()
    np.testing.assert_array_equal(shown[:30, :40][~frame], picture.color[~frame])
    depth, ground, ball = shown[:30, 40:, 0], picture.instances == 0, picture.instances == 1
    assert depth[picture.instances < 0].max() == 0
    assert np.unravel_index(picture.depth.argmin(), (30, 40)) in np.argwhere(depth == 255)
    assert (shown[30:, :40][ground] == (128, 128, 255)).all()
    labels = shown[30:, 40:]
    assert len(np.unique(labels[ball], axis=0)) == len(np.unique(labels[ground], axis=0)) == 1
    assert (labels[picture.instances < 0] == 0).all()


def test_an_empty_rendering_has_a_sheet() -> None:
    assert sheet(render(Scene(()), camera_of_view(8, 8, 50, np.eye(4)))).shape == (16, 16, 3)


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    text = Path(room.__file__).with_name("README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("[")
    kept = Path(room.__file__).parents[3] / "docs" / "geometry" / "renderer.png"
    pictures = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (tmp_path / kept.name, kept)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 1
