"""Run directories as rows: what is read of each, what counts as a run, what is said of the others."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from lab.errors import RunError
from lab.report.records.peeking import last_of_metrics, names_of_config
from lab.report.records.reading import read_listing, with_differences
from lab.run_lock import RunLock
from tests.reports import write_run


def test_a_row(tmp_path: Path) -> None:
    write_run(tmp_path / "a", words=("model=detr_tiny", "seed=3"))
    (row,) = read_listing(tmp_path, {"a": "rates"}).rows
    assert (row.name, row.state, row.step, row.model, row.data) == ("a", "finished", 2000, "detr_tiny", "shapes")
    assert (row.monitor, row.sweep, row.words) == ("val/map", "rates", ("model=detr_tiny", "seed=3"))
    assert row.val == row.result["val/map"]
    assert row.test == row.result["test/map"]
    assert row.result["test/map_small"] is None
    assert row.lower == {"val/loss"}
    assert row.started == 1795877589.0  # 2026-11-28T14:53:09+00:00, by date -d
    assert (row.ended or 0) - row.started == 92
    assert row.problem == ""


def test_a_run_that_has_not_ended_shows_its_last_validation(tmp_path: Path) -> None:
    write_run(tmp_path / "a", state="interrupted", monitor="")
    (row,) = read_listing(tmp_path).rows
    last = [line.split(",") for line in (tmp_path / "a" / "metrics.csv").read_text().splitlines()][-1]
    assert (row.monitor, row.val, row.test, row.step) == ("val/map", float(last[-1]), None, 2000)
    assert dict(row.result) == {}


def test_running_without_its_lock_is_stopped(tmp_path: Path) -> None:
    for name in ("alive", "dead"):
        write_run(tmp_path / name, state="running")
    lock = RunLock(tmp_path / "alive")
    try:
        states = {row.name: row.state for row in read_listing(tmp_path).rows}
    finally:
        lock.release()
    assert states == {"alive": "running", "dead": "stopped"}
    assert {row.state for row in read_listing(tmp_path).rows} == {"stopped"}


def test_folders_below_are_searched_and_foreign_ones_counted(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "rerun" / "b")
    write_run(tmp_path / "x" / "y" / "z" / "too_deep")
    write_run(tmp_path / "project" / "team" / "c")
    for name in ("notes", "sweeps/rates", ".hidden", "project/empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "rerun")
    (tmp_path / "also_a").symlink_to(tmp_path / "a")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "report.html").write_text("")
    listing = read_listing(tmp_path)
    assert [row.name for row in listing.rows] == ["a", "also_a", "project/team/c", "rerun/b"]
    assert listing.foreign == ["linked", "notes", "project/empty", "x"]


def test_a_run_itself_and_no_folder(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    assert [row.name for row in read_listing(tmp_path / "a").rows] == ["a"]
    with pytest.raises(RunError, match=r"b: no such folder; paths\.runs_dir"):
        read_listing(tmp_path / "b")
    with pytest.raises(RunError, match=r"config\.yaml is no folder"):
        read_listing(tmp_path / "a" / "config.yaml")


def test_the_words_that_differ(tmp_path: Path) -> None:
    for name, lr in (("a", "1e-3"), ("b", "1e-4")):
        write_run(tmp_path / name, words=("model=detr_tiny", f"optimizer.lr={lr}", "trainer.max_steps=5"))
    rows = with_differences(read_listing(tmp_path).rows)
    assert [row.differs for row in rows] == ["optimizer.lr=1e-3", "optimizer.lr=1e-4"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "run.json is missing"),
        ("{", "run.json is no JSON"),
        ("[]", "run.json is a JSON list, no mapping"),
        ("{}", "run.json is without state, sources"),
        ('{"state": "finished", "result": {}}', "run.json is without sources"),
    ],
)
def test_a_damaged_record_is_a_row_with_its_problem(tmp_path: Path, content: str | None, problem: str) -> None:
    write_run(tmp_path / "a")
    (tmp_path / "a" / "run.json").unlink()
    if content is not None:
        (tmp_path / "a" / "run.json").write_text(content)
    (row,) = read_listing(tmp_path).rows
    assert row.problem.startswith(problem)
    assert row.model == "detr_tiny"
    assert row.state == ("interrupted" if content and "state" in content else "damaged")


def test_numbers_that_are_none_are_no_values(tmp_path: Path) -> None:
    write_run(tmp_path / "a", result={"val/map": math.nan, "test/map": math.inf})
    (row,) = read_listing(tmp_path).rows
    assert (row.val, row.test) == (None, None)


@pytest.mark.parametrize(
    ("text", "names", "problem"),
    [
        ("model:\n  name: a\ndata:\n  name: b\n", {"model.name": "a", "data.name": "b"}, ""),
        ("model: {net: {name: x}, name: 'a: b'}\ndata: [name, c]\n", {"model.name": "a: b", "data.name": "c"}, ""),
        ("net:\n  model:\n    name: x\nmodel:\n- name: y\n", {}, ""),
        ("- a\n- b\n", {}, ""),
        ("", {}, ""),
        ("a: [", {}, "config.yaml cannot be read"),
        ("[" * 100_000, {}, "config.yaml is nested deeper than 64 levels"),
        ("- " * 100_000, {}, "config.yaml is nested deeper than 64 levels"),
        ("a" * 1_100_000, {}, "config.yaml is larger than 1024 KiB"),
    ],
)
def test_names_of_a_config(tmp_path: Path, text: str, names: dict[str, str], problem: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    found, said = names_of_config(file)
    if "data: [" not in text:  # a list is no group, whatever is read of it
        assert found == names
    assert found.get("model.name") == names.get("model.name")
    assert re.match(re.escape(problem), said)
    assert bool(said) == bool(problem)


def test_the_end_of_long_metrics(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    rows = [f"{step},0,{'0.5' if step == 7000 else ''},1.25" for step in range(1, 8001)]
    file.write_text("\n".join(["step,epoch,val/map,train/loss", *rows, "8001,0,0.7"]))  # the last line is cut
    assert last_of_metrics(file) == ({"val/map": 0.5}, 8000)
    assert last_of_metrics(file, validation=False) == ({}, 8000)
    for text in ("", "a,b\n1,2\n", "step,epoch\n", "step\n1\n\x00\n"):
        file.write_text(text)
        assert last_of_metrics(file)[0] == {}


def test_a_record_is_not_read_from_a_link_to_nowhere(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (tmp_path / "a" / "run.json").unlink()
    (tmp_path / "a" / "run.json").symlink_to("gone.json")
    (row,) = read_listing(tmp_path).rows
    assert (row.state, row.problem) == ("damaged", "run.json is a link that leads nowhere")
    (tmp_path / "a" / "run.json").unlink()
    (tmp_path / "a" / "run.json").write_text(json.dumps({"state": "finished", "result": {"val/map": 10**400}}))
    assert "with a wrong result" in read_listing(tmp_path).rows[0].problem


@pytest.mark.parametrize("classes", [300, 6000])
def test_rows_of_many_metrics_are_longer_than_what_is_read_first(classes: int, tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    columns = ["step", "epoch", *(f"val/map_per_class/{number}" for number in range(classes))]
    rows = [",".join([str(step), "0", *["0.123456789"] * classes]) for step in (10, 20)]
    file.write_text("\n".join([",".join(columns), *rows, ""]))
    values, step = last_of_metrics(file)
    assert (len(values), step) == (classes, 20)
    assert last_of_metrics(file, validation=False) == ({}, 20)
