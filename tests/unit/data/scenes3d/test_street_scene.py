"""``scripts/street_scene.py``: pictures of a scene, and a GLB that shows the same when it is read back."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from lab.data.scenes3d.frames import StreetOptions, StreetScenes, scene_of
from lab.data.scenes3d.rig import cameras
from lab.geometry.bake import bake
from lab.geometry.files import read_mesh
from lab.geometry.render.rendering import render_all
from lab.geometry.render.scene import Instance, Scene

pytest.importorskip("embreex")

SCRIPT = Path(__file__).parents[4] / "scripts" / "street_scene.py"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("street_scene", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_scene_becomes_pictures_and_a_glb_that_looks_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script().main(["1", "--split", "val", "--width", "64", "--out", str(tmp_path / "out")]) == 0
    assert "scene.glb" in capsys.readouterr().out
    for name in ("cameras.png", "masks.png", "above.png", "loaded.png"):
        picture = np.asarray(Image.open(tmp_path / "out" / name).convert("RGB"))
        assert picture.std() > 5
    scene = scene_of(StreetScenes("val", 2, StreetOptions()).layout((0, 1)), 10)
    found = read_mesh(tmp_path / "out" / "scene.glb").mesh
    assert found.num_triangles == sum(len(instance.mesh.triangles) for instance in scene.instances)
    eyes = cameras(64, 38)
    loaded = Scene((Instance(bake(found), np.eye(4)),), scene.lights)
    for before, after in zip(render_all(scene, eyes), render_all(loaded, eyes), strict=True):
        near = np.isclose(before.depth, after.depth, rtol=1e-3)
        assert near.mean() > 0.995  # centres of pixels on edges may see either side
        colours = np.abs(before.color.astype(int) - after.color.astype(int)).max(axis=-1)
        assert np.quantile(colours, 0.98) <= 4


def test_a_scene_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert script().main(["1000", "--out", str(tmp_path)]) == 2
    assert "index 1000 is outside of 0..511" in capsys.readouterr().err
