"""``lab runs`` as a user types it: what is printed, what is refused, how long it takes."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cli.main import main
from tests.documents import Shown, commands
from tests.reports import write_run, write_sweep
from tests.runs import ROOT, Runs, record


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    code = main(list(words))
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs in ``runs`` of the working directory, beside a folder that is none."""
    monkeypatch.chdir(tmp_path)
    for name, lr in (("a", 1e-3), ("b", 1e-5)):
        write_run(tmp_path / "runs" / name, lr=lr, words=("model=detr_tiny", f"optimizer.lr={lr:.0e}"))
    write_run(tmp_path / "runs" / "c", lr=0.5, state="failed", words=("model=detr_tiny", "optimizer.lr=0.5"))
    (tmp_path / "runs" / "notes").mkdir()
    return tmp_path / "runs"


def test_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows, counts, foreign = printed(capsys, "runs", "--sort", "map")
    assert [row.split()[0] for row in rows] == ["a", "b", "c"]
    assert head.split()[6:] == ["val/map", "test/map", "differs"]
    assert rows[0].split()[-1] == "optimizer.lr=1e-03"
    assert counts == "3 runs in runs: 2 finished, 1 failed"
    assert foreign == "1 folder holds no run: notes"


def test_words_and_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("runs", "lr=1e-05"), ("runs", "runs", "lr=1e-05", "finished"), ("runs", f"{folder}", "lr=1e-05")):
        _, row, *_ = printed(capsys, *words)
        assert row.split()[0] == "b"
    assert printed(capsys, "runs", "nothing")[0] == "0 of 3 runs in runs"
    (_, row, *_) = printed(capsys, "runs", "--state", "failed,diverged")
    assert row.split()[:2] == ["c", "failed"]
    assert len(printed(capsys, "runs", "--limit=1")) == 5


def test_json_and_csv(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads("\n".join(printed(capsys, "runs", "--json", "--sort=name")))
    assert [run["name"] for run in found["runs"]] == ["a", "b", "c"]
    rows = list(csv.DictReader(io.StringIO("\n".join(printed(capsys, "runs", "--csv", "--sort=name")))))
    assert [float(row["test/map"] or "nan") for row in rows][:2] == [run["test"] for run in found["runs"]][:2]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--sort", "mapp"], "error: --sort mapp: none of these runs has val/mapp"),
        (["--state", "done"], "error: --state done: there are running, finished"),
        (["--limit", "0"], "error: --limit 0: the smallest is 1"),
        (["--limit", "x"], "error: lab runs: argument --limit: invalid int value: 'x'"),
        (["--json", "--csv"], "error: give either --json or --csv"),
        (["--jsn"], "error: --jsn: lab runs has no such flag; did you mean '--json'"),
        (["no/folder"], "error: no/folder: no such folder; paths.runs_dir says where runs go"),
    ],
)
def test_refusals(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    assert refused(capsys, "runs", *words).startswith(line)


def test_without_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, "runs") == "error: runs: no such folder; paths.runs_dir says where runs go"
    (tmp_path / "runs").mkdir()
    assert printed(capsys, "runs") == ["0 runs in runs"]


def test_500_runs_take_less_than_two_seconds_and_no_torch(tmp_path: Path) -> None:
    """Seconds of the processor, not of the clock, since tests share the machine: 0.76 (AMD EPYC, 2026-11-29)."""
    write_sweep(tmp_path / "runs" / "sweeps" / "rates", runs=500, points=100).close()
    script = """
import sys, time
from lab.cli.main import main
code = main(["runs", "--sort", "map"])
print(code, time.process_time(), *[name for name in ("torch", "lightning", "hydra", "pandas") if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    *table, counts, last = done.stdout.splitlines()
    assert len(table) == 501
    assert counts.startswith("500 runs in runs: ")
    code, seconds, *heavy = last.split()
    assert (code, heavy) == ("0", [])
    assert float(seconds) < 2.0


def test_a_reader_that_goes_away(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = f"{sys.executable} -m lab runs {folder} --json | head -n 1"
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


SHOWN = [shown for shown in commands(ROOT / "docs" / "runs.md") if "beside runs of their names" in shown.reason]


@pytest.mark.parametrize("shown", SHOWN, ids=str)
def test_the_commands_of_the_text(
    shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(("detr_tiny-shapes-22279d50", "detr_tiny-shapes-1a2b3c4d")):
        for folder in ("runs", "old-runs"):
            write_run(tmp_path / folder / name, lr=10 ** -(3 + place), words=(f"optimizer.lr=1e-{3 + place}",))
    for words in shown.words:
        assert printed(capsys, *words)


def test_diff(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "diff", "a", "runs/b/checkpoints/best.ckpt")
    assert lines[:2] == ["A  runs/a (finished)", "B  runs/b (finished)"]
    assert [line.split() for line in lines[2:4]] == [["config", "A", "B"], ["optimizer.lr", "0.001", "1e-05"]]
    assert "the same: versions, sources, data, hardware" in lines
    found = json.loads("\n".join(printed(capsys, "diff", "a", "b", "--json")))
    assert (found["same_config"], found["problems"]) == (False, [])
    pair = found["results"]["val/map"]
    assert pair["difference"] == pair["other"] - pair["one"]
    assert {curve["metric"] for curve in found["curves"]} == {"train/loss", "val/loss", "val/map"}
    assert main(["diff", "a", "b", "--exit-code"]) == 1
    assert main(["diff", "a", "a", "--exit-code"]) == 0
    capsys.readouterr()
    assert refused(capsys, "diff", "a") == "error: lab diff compares two runs, here are 1 (lab diff --help)"
    assert refused(capsys, "diff", "a", "d").startswith("error: d: there is no such run, here or in runs")
    assert refused(capsys, "diff", "a", "b", "--jsn").startswith("error: --jsn: lab diff has no such flag")


def test_clean(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(folder / "a~1", state="interrupted", points=20)
    write_sweep(folder / "sweeps" / "rates", runs=4, points=20).close()
    lines = printed(capsys, "clean", "runs")
    assert [line.split("  ")[-1] for line in lines[:2]] == [
        "set aside by resume=never, interrupted",
        "failed without a checkpoint",
    ]
    assert lines[-2].endswith("in 2 things")
    assert lines[-1] == "nothing is deleted yet: --yes deletes these"
    assert printed(capsys, "clean", "runs", "--older-than", "1d")[0] == "nothing to delete in runs"
    assert "1 thing more is left: kept by --keep" in printed(capsys, "clean", "runs", "--keep", "a~1")
    assert printed(capsys, "clean", "runs", "--yes")[-1].startswith("deleted   2 things, ")
    assert not (folder / "a~1").exists()
    for run in folder.glob("*-shapes-*"):
        shutil.rmtree(run)
    assert "a sweep of which no run is left" in printed(capsys, "clean", "runs")[0]
    assert printed(capsys, "clean", "runs", "--yes")[-1].startswith("deleted   1 thing, ")
    assert not list((folder / "sweeps").iterdir())
    assert printed(capsys, "clean", "runs", "--yes") == ["nothing to delete in runs", "deleted   0 things, 0 B"]


def test_refusals_of_clean(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "clean") == "error: lab clean takes one folder of runs, here are 0 (lab clean --help)"
    assert refused(capsys, "clean", "runs/a", "--yes").startswith("error: runs/a is a run; name the folder")
    assert refused(capsys, "clean", "runs/notes", "--yes").startswith("error: runs/notes is no folder of runs")
    assert refused(capsys, "clean", "runs", "--older-than=soon").startswith("error: --older-than soon: write hours")
    assert refused(capsys, "clean", "runs", "--force").startswith("error: --force: lab clean has no such flag")


RERUN = ("trainer=cpu", "logger=csv", "data.num_train=32", "data.num_val=8", "data.num_test=8", "trainer.max_steps=4")


@pytest.mark.slow
def test_rerun_gives_the_same_result_and_keeps_the_original(runs: Runs, tmp_path: Path) -> None:
    """A real training, repeated: equal to the bit; with another rate it is not, and a changed version is refused."""
    original = runs.fit(*RERUN[2:], "callbacks.pictures=0", folder=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in original.rglob("*")}
    command = runs.run("rerun", original.name, folder=tmp_path)
    assert command.code == 0, command.out + command.err
    assert "config, versions, sources, data and hardware are those of the original" in command.out
    repeated = tmp_path / "runs" / "rerun" / original.name
    assert command.out.splitlines()[-1].startswith("equal     all ")
    assert record(repeated)["result"] == record(original)["result"]
    assert (repeated / "metrics.csv").is_file()
    assert record(repeated)["rerun_of"] == str(original)
    assert {path: path.stat().st_mtime_ns for path in original.rglob("*")} == before
    command = runs.run("rerun", original.name, "optimizer.lr=0.5", folder=tmp_path)
    assert command.code == 0, command.err
    assert command.out.splitlines()[-1].startswith("differs   ")
    changed = record(original)
    changed["versions"]["torch"] = "1.0"
    (original / "run.json").write_text(json.dumps(changed))
    command = runs.run("rerun", original.name, folder=tmp_path)
    assert (command.code, "--anyway trains all the same" in command.err) == (2, True)
    assert runs.run("rerun", original.name, "--check", folder=tmp_path).code == 1
    assert not (repeated.parent / f"{original.name}~1").exists()


def test_refusals_of_rerun(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "rerun") == "error: lab rerun needs a run (lab rerun --help)"
    assert refused(capsys, "rerun", "x").startswith("error: x: there is no such run")
    assert refused(capsys, "rerun", "a", "lr").startswith("error: lr: not understood; write key=value")
    assert refused(capsys, "rerun", "a", "stage=test").startswith("error: stage=test: lab rerun trains")
    assert refused(capsys, "rerun", "a", "paths.runs_dir=b").startswith("error: paths.runs_dir=b: --into says")
    write_run(folder / "own", own_data="mine.Data")
    assert "call lab.fit with it again" in refused(capsys, "rerun", "own")
    (folder / "a" / "run.json").write_text("{")
    assert "the overrides of this run are not known" in refused(capsys, "rerun", "a")
