"""Undo, redo, edits of earlier steps, previews: what changes, what does not, and how many steps are run."""

from __future__ import annotations

import pytest

from lab.errors import GeometryError
from lab.geometry.edits import AppendMesh, Delete, TransformMesh
from lab.geometry.measures import volume
from lab.geometry.primitives.box import Box
from lab.geometry.primitives.round import Cylinder
from lab.geometry.script import Script
from lab.geometry.selection import Selection
from lab.geometry.session import Session


@pytest.fixture
def session() -> Session:
    return Session(Script(steps=(Box(), AppendMesh(other=(Box(size=(2, 2, 2)),)), TransformMesh(scale=(2, 1, 1)))))


def test_undo_and_redo_run_nothing(session: Session) -> None:
    assert volume(session.mesh) == pytest.approx(18)
    session.add(Cylinder())
    session.edit(0, {"size": [3, 1, 1]})
    runs, last = session.num_runs, session.script
    assert volume(session.undo()) == pytest.approx(volume(Session(session.script).mesh))
    assert volume(session.undo()) == pytest.approx(18)
    assert session.redo() is not None
    session.redo()
    assert session.script is last
    assert session.num_runs == runs == 3 + 1 + 4
    with pytest.raises(GeometryError, match="there is nothing to redo"):
        session.redo()


def test_a_change_after_undo_forgets_what_was_undone(session: Session) -> None:
    session.add(Cylinder())
    session.undo()
    session.add(Box())
    with pytest.raises(GeometryError, match="nothing to redo"):
        session.redo()
    session.undo()
    with pytest.raises(GeometryError, match="nothing to undo"):
        session.undo()


def test_an_edit_runs_from_the_changed_step_on(session: Session) -> None:
    runs = session.num_runs
    mesh = session.edit((1, "other", 0), {"size": (3, 1, 1)})
    assert volume(mesh) == pytest.approx(2 * (1 + 3))
    assert session.num_runs == runs + 2
    assert volume(session.mesh_after(1)) == pytest.approx(1)
    assert session.num_runs == runs + 2


def test_a_preview_changes_nothing(session: Session) -> None:
    before, script = session.mesh, session.script
    assert volume(session.preview(Box())) == pytest.approx(19)
    assert volume(session.preview_edit(2, {"scale": (1, 1, 1)})) == pytest.approx(9)
    assert session.mesh is before
    assert session.script is script
    runs = session.num_runs
    session.add(Box(at=(9, 0, 0)))
    assert session.num_runs == runs + 1


def test_an_edit_that_fails_leaves_all_as_it_was(session: Session) -> None:
    session.add(Delete(select=Selection(polygroups=(11,))))
    script = session.script
    with pytest.raises(GeometryError, match=r"steps\[3\]\.delete\.select\.polygroups\[0\]: there is no polygroup 11"):
        session.edit(1, {"other": [{"cylinder": {"sides": 4}}]})
    assert session.script is script
    session.undo()
    assert len(session.script.steps) == 3


@pytest.mark.parametrize(
    ("place", "values", "message"),
    [
        (0, {"sise": 1}, r"steps\[0\]\.box\.sise: there is no such parameter; did you mean 'size'"),
        (3, {}, "steps: there is no step 3 among 3"),
        ((1, "others", 0), {}, r"steps\[1\]\.append: has no nested script 'others'; did you mean 'other'"),
        ((1, "other", 4), {}, r"steps\[1\]\.append\.other: there is no step 4 among 1"),
        ((1, "other", 0), {"steps": (0, 1, 1)}, r"steps\[1\]\.append\.other\[0\]\.box\.steps\[0\]: must be at least 1"),
    ],
)
def test_errors_lead_to_the_parameter(
    session: Session, place: int | tuple[int | str, ...], values: dict[str, object], message: str
) -> None:
    with pytest.raises(GeometryError, match=message):
        session.edit(place, values)


def test_steps_are_inserted_and_removed(session: Session) -> None:
    session.insert(0, Box(at=(5, 0, 0)))
    assert volume(session.mesh) == pytest.approx(20)
    assert volume(session.remove(3)) == pytest.approx(10)
    with pytest.raises(GeometryError, match="there is no step 7"):
        session.remove(7)
    with pytest.raises(GeometryError, match="there is no place 9"):
        session.insert(9, Box())


def test_kept_meshes_stay_within_their_memory() -> None:
    session = Session(megabytes=0.1)
    for index in range(20):
        session.add(Box(at=(2 * index, 0, 0)))
    assert session.num_bytes <= 0.1e6
    for _ in range(19):
        session.undo()
    assert volume(session.mesh) == pytest.approx(1)
