"""What the page of ``lab report`` is filled with: sweeps, runs and folders, in any state and mixed."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from lab.cli.main import main
from lab.errors import RunError
from lab.report.html.rendering import render
from lab.run_lock import RunLock
from lab.sweeps.influence import find_influences
from lab.sweeps.ledger import Ledger
from lab.sweeps.report import Gatherer
from tests.reports import TRACEBACK, write_run, write_sweep
from tests.sweeps import middle_of_a_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few") / "sweeps" / "rates"
    write_sweep(folder, 34, 20).close()
    return folder


def test_a_sweep(sweep: Path) -> None:
    page = Gatherer([str(sweep)]).page()
    assert (page.title, page.kind, len(page.entries), page.monitor) == ("rates", "runs", 34, "val/map")
    assert page.keys == ["model", "optimizer.lr", "seed"]
    assert page.best == 0
    scores = [entry.result["val/map"] for entry in page.entries if entry.state == "finished"]
    assert scores == sorted(scores, key=lambda score: -(score or 0))
    best = page.entries[0]
    assert best.label.startswith(f"{best.number}: model=")
    assert isinstance(best.values["optimizer.lr"], float)
    assert len(best.series["train/loss"]) == 20
    assert best.clock is not None
    assert best.clock.values[-1] == pytest.approx(200 * 32 / 400, rel=0.1)  # 200 steps of 32 at 400 a second
    assert page.runs_on is False
    failed = [entry for entry in page.entries if entry.state == "failed"]
    assert [entry.number for entry in failed] == [17, 34]
    assert failed[0].tail == TRACEBACK
    assert {span.lane for span in page.spans} == {"slot 0", "slot 1", "slot 2", "slot 3"}
    assert all(page.entries[span.run].number is not None for span in page.spans)
    differing = {difference.key: difference.values for difference in page.differences}
    assert set(differing) == {"model.name", "optimizer.lr", "seed"}
    assert [(text, len(runs)) for text, runs in differing["seed"]] == [("0", 17), ("1", 17)]
    assert page.notes == []


def test_configs_that_were_never_written_are_not_said_to_be_the_same(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweeps" / "rates", 8, 5).close()
    gatherer = Gatherer([str(tmp_path / "sweeps" / "rates")])
    (gatherer.page().entries[0].path / "config.yaml").unlink()
    text = render(Gatherer([str(tmp_path / "sweeps" / "rates")]).page())
    assert "keys; all others are the same in the 7 of 8 runs that have a config." in text


def test_a_sweep_is_read_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ledger names runs as they are seen from the folder where it was started."""
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    write_sweep(Path("runs/sweeps/rates"), 4, 5).close()
    monkeypatch.chdir(tmp_path / "here")
    page = Gatherer([str(tmp_path / "there" / "runs" / "sweeps" / "rates")]).page()
    assert [len(entry.series["train/loss"]) for entry in page.entries] == [5, 5, 5, 5]


def test_importance_and_correlation_follow_what_matters() -> None:
    """The metric is the logarithm of the rate, and nothing else: its correlation is 1, that of the noise small."""
    points = [
        {"lr": 10.0 ** -(1 + place % 20 / 5), "noise": (place * 7919) % 101, "kind": "ab"[place % 2]}
        for place in range(80)
    ]
    values = [10 - (place % 20) / 5 for place in range(80)]
    found, note = find_influences(points, values, ["lr", "noise", "kind", "absent"], lower=False)
    assert found[0].key == "lr"
    assert found[0].correlation == pytest.approx(1)
    assert sum(one.importance or 0 for one in found) == pytest.approx(1)
    assert (found[0].importance or 0) > 0.6
    assert next(one for one in found if one.key == "kind").correlation is None
    assert note.startswith("PED-ANOVA of Optuna")
    assert note.endswith("; without absent, which not all of them set")
    turned, _ = find_influences(points, values, ["lr"], lower=True)
    assert turned[0].importance == pytest.approx(1)


def test_a_metric_that_is_always_the_same_depends_on_nothing() -> None:
    found, note = find_influences([{"lr": place} for place in range(10)], [0.5] * 10, ["lr"], lower=False)
    assert (found, note.endswith("the metric is the same in all of them")) == ([], True)


def test_of_few_runs_the_best_half_tells_what_matters() -> None:
    """A grid of 8 runs in which the rate alone decides: the best tenth, one run, would call all three equal."""
    grid = [(lr, queries, seed) for lr in (1e-3, 1e-4) for queries in (10, 20) for seed in (0, 1)]
    points = [{"lr": lr, "queries": queries, "seed": seed} for lr, queries, seed in grid]
    values = [0.3 if lr == 1e-3 else 0.1 for lr, _, _ in grid]
    found, note = find_influences(points, values, ["queries", "lr", "seed"], lower=False)
    assert found[0].key == "lr"
    assert (found[0].importance or 0) > 0.95
    assert note.endswith(": the best 4 of 8 finished runs")


def test_too_few_runs_have_no_importance() -> None:
    found, note = find_influences([{"lr": 1.0}, {"lr": 2.0}], [1.0, None], ["lr"], lower=False)
    assert found == []
    assert note == "not computed: it takes 8 runs that differ, and only 1 runs have this metric"


def test_without_optuna_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    points = [{"lr": float(place)} for place in range(10)]
    found, note = find_influences(points, [float(place) for place in range(10)], ["lr"], lower=False)
    assert [(one.importance, one.correlation) for one in found] == [(None, pytest.approx(1))]
    assert note == "importance needs Optuna (pip install 'lab[sweep]'): only correlations are shown"


def test_a_run(tmp_path: Path) -> None:
    words = ("optimizer.lr=0.002", "logger=csv")
    write_run(tmp_path / "detr_tiny-shapes-1", lr=0.002, words=words)
    page = Gatherer([str(tmp_path / "detr_tiny-shapes-1")]).page()
    assert (page.kind, page.title) == ("run", "detr_tiny-shapes-1")
    assert page.command == "python run.py optimizer.lr=0.002 logger=csv"
    assert page.detail is not None
    settings = {setting.key: setting for setting in page.detail.settings}
    assert settings["optimizer.lr"].value == "0.002"
    assert settings["optimizer.lr"].typed
    assert settings["optimizer.lr"].origin == "set on the command line: optimizer.lr=0.002"
    assert settings["seed"].origin == "set in conf/config.yaml"
    assert settings["model.net.dropout"].origin in ("", "set in conf/model/detr_tiny.yaml")
    assert ("host", "atlas") in page.detail.facts["Machine"]


def test_a_config_of_an_older_version_marks_what_was_typed(tmp_path: Path) -> None:
    write_run(tmp_path / "run", words=("gone.key=1", "seed=0"))
    detail = Gatherer([str(tmp_path / "run")]).page().detail
    assert detail is not None
    assert detail.origins.startswith("today's files cannot compose its words (gone.key=1")
    assert [setting.key for setting in detail.settings if setting.typed] == ["seed"]


def test_a_folder_of_runs_is_compared_by_what_differs(tmp_path: Path) -> None:
    for place, rate in enumerate((1e-3, 1e-2, 1e-5)):
        write_run(tmp_path / f"run-{place}", lr=rate, points=20)
        with (tmp_path / f"run-{place}" / "config.yaml").open("a", encoding="utf-8") as file:
            file.write(f"logger:\n  wandb:\n    name: lr={rate}\n    media: {place // 2}\n")  # a name only follows
    page = Gatherer([str(tmp_path)]).page()
    assert page.keys == ["optimizer.lr", "logger.wandb.media"]
    assert [difference.key for difference in page.differences] == page.keys
    assert [entry.name for entry in page.entries] == ["run-0", "run-1", "run-2"]  # the best first
    assert page.best == 0
    assert [span.lane for span in page.spans] == ["lane 0", "lane 1", "lane 2"]  # they ran at the same time


def test_sweeps_and_runs_mixed(sweep: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "alone", lr=3e-3, points=20)
    member = next(path for path in sweep.parents[1].iterdir() if path.name.endswith("00000000"))
    page = Gatherer([str(sweep), str(tmp_path / "alone"), str(member)]).page()
    assert len(page.entries) == 35  # the member of the sweep counts once
    alone = next(entry for entry in page.entries if entry.name == "alone")
    assert (alone.source, alone.number) == ("alone", None)
    assert alone.values == {"model": "detr_tiny", "optimizer.lr": 0.003, "seed": 0}
    assert dict(page.facts)["sweep rates"] == "complete"


def test_a_sweep_that_runs(tmp_path: Path) -> None:
    ledger = middle_of_a_sweep(tmp_path / "sweeps" / "rates")
    ledger.close()
    lock = RunLock(tmp_path / "sweeps" / "rates")
    try:
        page = Gatherer([str(tmp_path / "sweeps" / "rates")]).page()
    finally:
        lock.release()
    assert page.runs_on
    assert dict(page.facts)["sweep"] == "runs"
    states = {entry.number: entry.state for entry in page.entries}
    assert states == {1: "finished", 2: "failed", 3: "poison", 4: "running", 5: "running", 6: "waiting"}
    assert page.entries[0].number == 1
    assert render(page)


def test_a_sweep_whose_master_has_died(tmp_path: Path) -> None:
    middle_of_a_sweep(tmp_path / "rates").close()
    page = Gatherer([str(tmp_path / "rates")]).page()
    assert "2 jobs were running when the sweep's master ended" in page.notes
    assert dict(page.facts)["sweep"] == "stopped"


def test_an_empty_sweep_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "rates").mkdir()
    Ledger(tmp_path / "rates", create=True).close()
    assert "No job has been proposed yet." in render(Gatherer([str(tmp_path / "rates")]).page())


def test_damaged_runs_are_named(tmp_path: Path) -> None:
    for name in ("whole", "record", "config", "metrics", "bare"):
        write_run(tmp_path / name, points=20)
    (tmp_path / "record" / "run.json").write_text("{")
    (tmp_path / "config" / "config.yaml").write_text("a: [")
    (tmp_path / "metrics" / "metrics.csv").write_text("step,val/map\n1,x\n2,0.5\n")
    (tmp_path / "bare" / "metrics.csv").unlink()
    page = Gatherer([str(tmp_path)]).page()
    notes = "\n".join(page.notes)
    assert "record: run.json is no JSON" in notes
    assert "config: config.yaml cannot be read" in notes
    assert "metrics.csv, line 2 is damaged" in notes
    assert "bare: metrics.csv is missing" in notes
    assert "2 runs have logged no metrics, so no curves" in notes
    assert render(page)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "lab report needs the directory of a run or a sweep"),
        (("nowhere",), "error: nowhere: there is no such run or sweep"),
        (("empty",), "error: empty is no run, no sweep (no ledger.sqlite), and no folder with runs"),
        (("run", "--liv"), "error: --liv: lab report has no such flag; did you mean '--live' or '--help'?"),
        (("run", "--live", "--out", "page.html"), "error: --live serves the page and writes no file"),
        (("run", "--out", "empty"), "error: empty is a folder; give --out the name of a file"),
        (("torn",), "error: torn/ledger.sqlite is damaged"),
        (("old",), "error: old/ledger.sqlite is damaged (no such column"),
    ],
    ids=["nothing", "nowhere", "empty", "flag", "live", "out", "torn", "old"],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"), points=2)
    Path("empty").mkdir()
    Path("torn").mkdir()
    Path("torn/ledger.sqlite").write_bytes(b"no database at all" * 100)
    Path("old").mkdir()
    with sqlite3.connect("old/ledger.sqlite") as database:
        database.execute("CREATE TABLE jobs (number INTEGER PRIMARY KEY, words TEXT)")
    assert main(["report", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_the_file_is_written_beside_what_it_shows(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(sweep)]) == 0
    assert re.fullmatch(rf"report    {sweep}/report.html \(34 runs, \d\.\d MB\)\n", capsys.readouterr().out)
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"), points=2)
    assert main(["report", str(sweep), "run"]) == 0
    assert Path("report.html").is_file()
    assert main(["report", "run", "--out", "page.html"]) == 0
    assert "(1 run, " in capsys.readouterr().out
    text = Path("page.html").read_text()
    assert "http://" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # it loads nothing


def test_a_run_that_is_gone_is_said(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, points=2)
    gatherer = Gatherer([str(tmp_path)])
    assert len(gatherer.page().entries) == 2
    shutil.rmtree(tmp_path / "one")
    assert len(gatherer.page().entries) == 1
    shutil.rmtree(tmp_path / "two")
    with pytest.raises(RunError, match="there is no run in it"):
        gatherer.page()
