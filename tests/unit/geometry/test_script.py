"""Scripts: run, written and read back; errors name the step and the parameter."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from lab.errors import GeometryError
from lab.geometry.joining import append
from lab.geometry.mesh import DynamicMesh
from lab.geometry.paint import Paint
from lab.geometry.primitives.box import Box
from lab.geometry.python_text import python_text
from lab.geometry.script import Script, parse_script, script_text
from lab.geometry.tool import Context, Tool
from lab.geometry.transforms import transformed, translation
from lab.geometry.words import WORDS, tool_class

TEXT = """
seed: 3
steps:
  - box: {size: [2, 1, 0.5], steps: [2, 1, 1], material: {name: wood, color: [0.5, 0.25, 0]}}
  - box: {at: [0, 0, 5e-1], pivot: centre}
"""


def test_a_script_of_two_boxes_runs() -> None:
    script = parse_script(TEXT)
    mesh = script.run()
    assert mesh.num_triangles == 2 * (4 * 2 + 2) + 12
    np.testing.assert_array_equal(mesh.positions.min(0), [-1, -0.5, 0])
    assert [material.name for material in mesh.materials] == ["wood", "rgb 0.7 0.7 0.7"]
    assert script.steps[1] == Box(at=(0, 0, 0.5), pivot="centre")


def test_a_script_is_read_back_equal() -> None:
    script = parse_script(TEXT)
    assert parse_script(script_text(script)) == script
    assert "seed: 3" in script_text(script)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [{bx: {}}]", "script line 1: steps[0]: there is no operation 'bx'; did you mean 'box'?"),
        ("steps:\n- box:\n- box:\n    siz: 1", "script line 4: steps[1].box.siz: there is no such parameter; did"),
        ("steps:\n- box: {size: [1, -2, 1]}", "script line 2: steps[0].box.size[1]: must be at least 1e-06, not -2.0"),
        ("steps: [box]\nseed: 1\nseed: 2", "script line 3: 'seed' stands twice"),
        ("step: [box]", "step: there is no such parameter; did you mean 'steps' or"),
    ],
)
def test_an_error_names_the_step_and_the_parameter(text: str, message: str) -> None:
    with pytest.raises(GeometryError) as caught:
        parse_script(text)
    assert message in str(caught.value)


def test_a_runaway_is_stopped_before_it_takes_memory() -> None:
    script = parse_script("budget: {triangles: 1000}\nsteps: [box, {box: {steps: [50000, 50000, 50000]}}]")
    with pytest.raises(GeometryError, match=r"steps\[1\]\.box: makes 300000000\d* triangles; budget.triangles allows"):
        script.run()
    assert Script(steps=(Box(),)).run().num_triangles == 12


@pytest.mark.parametrize(
    ("change", "size"),
    [
        ("steps[0].box.size=[3, 1, 1]", (3, 1, 1)),
        ("steps[0].box.size[2]=4", (2, 1, 4)),
        ("steps=[{box: {size: [1, 1, 9]}}]", (1, 1, 9)),
    ],
)
def test_a_value_is_changed_by_its_path(change: str, size: tuple[float, ...]) -> None:
    assert parse_script(TEXT, changes=[change]).steps[0].values()["size"] == size


def test_a_change_may_add_what_has_its_default() -> None:
    script = parse_script("steps: [box]", changes=["steps[0].box.material.color=[1, 0, 0]", "seed=5"])
    assert script == Script(steps=(Box(material=Paint(color=(1, 0, 0))),), seed=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps[0].bx.size=1", "steps[0].bx.size=1: there is no 'bx'; there are box"),
        ("steps[2].box.size=1", "there is no 2; there are [0], [1]"),
        ("steps[0].box.pivot=middle", "script line 4: steps[0].box.pivot: must be base, centre, top, not 'middle'"),
        ("steps[0].box", "'steps[0].box' is no change such as"),
    ],
)
def test_a_change_that_cannot_be(change: str, message: str) -> None:
    with pytest.raises(GeometryError) as caught:
        parse_script(TEXT, changes=[change])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[box]", "a script is a mapping with 'steps'"),
        ("steps: [{box: {}, cylinder: {}}]", "steps[0]: a step is one operation with its parameters"),
        ("steps: [{box: 1}]", "steps[0].box: has its parameters as a mapping"),
        ("steps: [{append: {}}]", "steps[0].append.other: is missing and has no default"),
        ("steps: [{append: {other: []}}]", "steps[0].append.other: must have at least 1 parts, not 0"),
        ("steps: [{append: {other: [{box: {steps: 3}}]}}]", "steps[0].append.other[0].box.steps: must be a list"),
        ("steps: [{box: {at: [1e999, 0, 0]}}]", "steps[0].box.at[0]: must be a finite number, not inf"),
        ("steps: !!python/object:os.system []", "script line 1: a script has no tags such as"),
        ("steps: [" * 100, "is nested more than 60 deep"),
        ("steps: [box\n", "is no YAML: while parsing a flow sequence"),
        ("a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n" * 1, "a: there is no such parameter"),
        ("&a\n- *a", "has too many values"),
        ("{[a]: 1}", "a key is a word"),
        ("", "a script is a mapping with 'steps'"),
    ],
)
def test_texts_that_are_no_scripts(text: str, message: str) -> None:
    with pytest.raises(GeometryError) as caught:
        parse_script(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_aliases_cannot_grow_without_end() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(GeometryError, match="has too many values"):
        parse_script("\n".join(lines))


@pytest.mark.parametrize("name", ["no", "1e-3", "12", "null", "a: b", "é", "~", "", "- x", "#f", "two words"])
def test_names_are_read_back_as_the_text_they_are(name: str) -> None:
    script = Script(steps=(Box(material=Paint(name=name)),))
    assert parse_script(script_text(script)) == script


def test_a_script_runs_as_python() -> None:
    """The program is executed here, in a test; lab itself executes no text."""
    script = parse_script(TEXT + "  - append: {other: [{cylinder: {sides: 5}}], at: [1, 2, 3]}\n")
    text = python_text(script)
    spaces: dict[str, Any] = {}
    exec(compile(text, "script", "exec"), spaces)
    assert spaces["script"] == script
    np.testing.assert_array_equal(spaces["mesh"].positions, script.run().positions)
    assert 'Box(size=(2.0, 1.0, 0.5), steps=(2, 1, 1), material=Paint(name="wood", color=(0.5, 0.25, 0.0)))' in text


@pytest.mark.parametrize("word", WORDS)
def test_every_word_has_its_class(word: str) -> None:
    """The class has the word, is a frozen dataclass, and documents each parameter of its own."""
    kind = tool_class(word)
    assert kind.word == word
    assert dataclasses.is_dataclass(kind)
    described = "".join(base.__doc__ or "" for base in kind.__mro__)
    for field in dataclasses.fields(kind):
        assert f"{field.name}: " in described, f"{kind.__name__}.{field.name} is not described"
        assert field.kw_only


@dataclass(frozen=True, kw_only=True)
class _Drawn(Tool):
    """Moves the mesh by what it draws."""

    word: ClassVar[str] = "drawn"

    other: tuple[Tool, ...] = ()

    def apply(self, mesh: DynamicMesh, context: Context) -> DynamicMesh:
        """Return the mesh moved."""
        moved = transformed(mesh, translation(context.random().normal(size=3)))
        return append(moved, self.operand("other", context))


def test_what_is_drawn_follows_from_the_seed_and_the_place() -> None:
    def drawn(steps: tuple[Tool, ...], seed: int = 0) -> np.ndarray:
        return Script(steps=steps, seed=seed).run().positions

    first = drawn((Box(), _Drawn()))
    np.testing.assert_array_equal(first, drawn((Box(), _Drawn())))
    assert not np.array_equal(first, drawn((Box(), _Drawn()), seed=1))
    twice = drawn((Box(), _Drawn(), _Drawn()))
    assert not np.allclose(twice - first, first - drawn((Box(),)))
    nested = drawn((Box(), _Drawn(other=(Box(), _Drawn()))))
    assert not np.allclose(nested[:8], nested[8:])


def test_numbers_of_numpy_are_plain_ones() -> None:
    box = Box(size=np.array([1, 2, 3], dtype=np.float32), steps=(np.int64(2), 1, 1), at=(np.float32(0.5), 0, 0))
    assert box == Box(size=(1, 2, 3), steps=(2, 1, 1), at=(0.5, 0, 0))
    assert parse_script(script_text(Script(steps=(box,)))).steps == (box,)
    with pytest.raises(GeometryError, match=r"size\[0\]: must be a finite number, not 1000"):
        Box(size=(10**400, 1, 1))


def test_the_memory_of_a_mesh_is_limited() -> None:
    with pytest.raises(GeometryError, match=r"sphere: makes a mesh of 1\.2 MB; budget\.megabytes allows 0\.5"):
        parse_script("budget: {megabytes: 0.5}\nsteps: [{sphere: {sides: 100, rings: 50}}]").run()
