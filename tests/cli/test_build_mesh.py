"""``scripts/build_mesh.py`` in this process: the examples of the documentation, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.geometry.files import read_mesh
from lab.geometry.measures import is_watertight, volume
from lab.geometry.script import parse_script, read_script
from lab.geometry.words import WORDS
from scripts.build_mesh import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "geometry").glob("*.yaml"))
BRACKET = str(ROOT / "docs" / "geometry" / "bracket.yaml")


def test_a_part_a_picture_and_a_turntable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part, preview, turn = tmp_path / "part.glb", tmp_path / "part.png", tmp_path / "part.gif"
    words = [BRACKET, "-o", str(part), "--preview", str(preview), "--turntable", str(turn)]
    assert main([*words, "--size", "96", "--frames", "4"]) == 0
    said = capsys.readouterr().out
    assert "steps[3] difference" in said
    assert "0.12 x 0.08 x 0.09 m" in said
    assert "watertight" in said
    assert said.count("written") == 3
    loaded = read_mesh(part)
    assert is_watertight(loaded.mesh)
    assert volume(loaded.mesh) == pytest.approx(volume(read_script(BRACKET).run()), rel=1e-5)
    picture = np.asarray(Image.open(preview))
    assert picture.shape == (96, 96, 3)
    assert picture.std() > 20
    with Image.open(turn) as gif:
        assert (getattr(gif, "n_frames", 1), gif.size) == (4, (48, 48))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_builds(path: Path) -> None:
    assert read_script(path).run().num_triangles > 100


def test_values_are_changed_and_steps_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [BRACKET, "--set", "steps[0].box.size=[1, 2, 3]", "--steps", "1", "-o", str(tmp_path / "box.stl")]
    assert main(words) == 0
    assert "1 x 2 x 3 m, 22 m2, watertight, 6 m3" in capsys.readouterr().out


def test_levels_and_collision_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / "part.glb"
    script = tmp_path / "ball.yaml"
    script.write_text("steps: [{sphere: {sides: 12, rings: 8}}]")
    assert main([str(script), "-o", str(part), "--levels", "0.7", "0.5", "--collision", "hull"]) == 0
    said = capsys.readouterr().out
    assert "level 2: " in said
    assert "collision: 1 convex parts" in said
    content = part.read_bytes()
    assert all(name in content for name in (b'"part_LOD1"', b'"part_LOD2"', b'"UCX_part_00"'))
    assert main([str(script), "--levels", "2"]) == 2
    assert "shares fall from below 1" in capsys.readouterr().err


def test_the_script_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([BRACKET, "--yaml", "--set", "seed=4"]) == 0
    script = parse_script(capsys.readouterr().out)
    assert (script.seed, script.steps) == (4, read_script(BRACKET).steps)
    assert main([BRACKET, "--python"]) == 0
    assert "mesh = script.run()" in capsys.readouterr().out


def test_words_are_listed_with_their_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--words"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(WORDS)
    assert not any("See `" in line for line in lines)
    assert main(["--words", "torus"]) == 0
    said = capsys.readouterr().out
    assert "torus: A ring." in said
    assert "tube_radius = 0.2\n      metres, at most ``radius``." in said
    assert 'groups = "face"  (shape | face | quad)' in said
    assert main(["--words", "tours"]) == 2
    assert "did you mean 'torus'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("steps: [box]", ["-o", "part.fbx"], "no mesh is kept in a file that ends in '.fbx'"),
        ("steps: []", [], "the script makes no triangles"),
        (
            "steps:\n- box: {size: [1, 1, 0]}",
            [],
            "script.yaml line 2: steps[0].box.size[2]: must be at least 1e-06, not 0",
        ),
        ("steps: [sphere]\nbudget: {triangles: 9}", [], "steps[0].sphere: makes 576 triangles; budget.triangles"),
        ("steps: [box]", ["--preview", "none/a.png"], "cannot be written: [Errno 2] No such file"),
        (
            "steps: [box, {delete: {select: {facing: [0, 0, 1]}}}, {difference: {other: [sphere]}}]",
            [],
            "steps[2].difference: the mesh must be watertight and has 4 open edges",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    text: str, more: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("script.yaml").write_text(text)
    assert main(["script.yaml", *more]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_documentation_names_every_operation() -> None:
    text = (ROOT / "docs" / "geometry.md").read_text(encoding="utf-8")
    assert [word for word in WORDS if f"`{word}`" not in text] == []
