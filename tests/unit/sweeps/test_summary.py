"""The table at the end of a sweep: the best first, failures with their last lines, CSV, JSON and the exit code."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lab.sweeps.ledger import Ledger
from lab.sweeps.summary import Summary, exit_code, failures, print_summary, summarise, write_summary
from tests.sweeps import middle_of_a_sweep, write_record


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    folder = tmp_path / "sweeps" / "rates"
    folder.mkdir(parents=True)
    return Ledger(folder, create=True)


def add(ledger: Ledger, number: int, words: list[str], result: dict[str, float | None], **values: Any) -> None:
    """Add a job; one with a result has finished."""
    run = ledger.file.parents[2] / f"run-{number}"
    assert ledger.add([(words, str(run), {})]) == [number]
    if result:
        write_record(run, result, **values)
        ledger.change(number, state="finished", result=result, attempts=1)


def printed(summary: Summary, capsys: pytest.CaptureFixture[str], further: tuple[str, ...] = ()) -> list[str]:
    print_summary(summary, further)
    return [" ".join(line.replace("│", " ").replace("┃", " ").split()) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("width", "gone"),
    [
        (100, []),
        (80, ["attempts"]),
        (64, ["attempts", "test/map_75"]),
        (52, ["attempts", "test/map_75", "test/map_50"]),
        (44, ["attempts", "test/map_75", "test/map_50", "run"]),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns(
    width: int,
    gone: list[str],
    ledger: Ledger,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = {"val/map": 0.1, "test/map": 0.25, "test/map_50": 0.5, "test/map_75": 0.125}
    for number in (1, 2):
        add(ledger, number, ["model=detr_tiny", f"seed={number}"], result)
    terminal = Console(width=width, force_terminal=True, color_system=None)
    monkeypatch.setattr("lab.sweeps.summary.Console", lambda: terminal)
    shown = printed(summarise(ledger), capsys)
    header = next(line for line in shown if line.startswith("job"))
    every = ["job", "seed", "run", "state", "attempts", "test/map", "test/map_50", "test/map_75"]
    assert header.split() == [column for column in every if column not in gone]
    assert any(line.startswith("-> 1 1") and "0.2500" in line for line in shown)


@pytest.mark.parametrize(("lower", "order"), [((), [3, 1, 2, 4]), (("val/map",), [2, 1, 3, 4])])
def test_the_best_job_comes_first(
    lower: tuple[str, ...], order: list[int], ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, value in enumerate((0.2, 0.1, 0.3), 1):
        result = {"val/map": value, "test/map": 0.5, "test/ap_per_class/3": 1.0}
        add(ledger, number, ["model=detr_tiny", f"seed={number}"], result, lower=lower)
    add(ledger, 4, ["model=detr_tiny", "seed=4"], {})
    ledger.change(4, state="diverged", attempts=3, problem="the loss is nan")
    summary = summarise(ledger)
    assert [job.number for job in summary.jobs] == order
    assert summary.varied == ["seed"]
    assert summary.columns == ["job", "seed", "run", "state", "attempts", "val/map", "test/map"]
    shown = printed(summary, capsys)
    marked = [line for line in shown if line.startswith("->")]
    assert marked == [f"-> {order[0]} {order[0]} run-{order[0]} finished 1 0.5000"]
    best, better = ("0.1000", "lower") if lower else ("0.3000", "higher")
    assert f"best seed={order[0]}: val/map {best} ({better} is better)" in shown

    write_summary(summary)
    with (ledger.file.parent / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["job"]) for row in rows] == order
    assert [row["state"] for row in rows] == ["finished"] * 3 + ["diverged"]
    assert rows[0]["val/map"] == best[:3]
    assert rows[3]["val/map"] == ""
    found = json.loads((ledger.file.parent / "summary.json").read_text())
    direction = "min" if lower else "max"
    assert found["best"] == {"job": order[0], "metric": "val/map", "value": float(best), "direction": direction}
    assert found["jobs"][0]["values"] == {"seed": str(order[0])}
    assert found["jobs"][0]["result"] == {"val/map": float(best), "test/map": 0.5}
    assert (found["jobs"][3]["problem"], found["jobs"][3]["attempts"]) == ("the loss is nan", 3)
    assert not list(ledger.file.parent.glob(".*"))  # no temporary file is left


def test_the_objective_of_a_search_counts(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """It need not be what the runs monitor; with several objectives none is the best."""
    for number, (score, loss) in enumerate(((0.2, 3.0), (0.3, 2.0), (0.1, 1.0)), 1):
        add(ledger, number, [f"seed={number}"], {"val/map": score, "val/loss": loss})
    ledger.set(objectives=[{"metric": "val/loss", "direction": "min"}])
    summary = summarise(ledger)
    assert [job.number for job in summary.jobs] == [3, 2, 1]
    shown = printed(summary, capsys, ("best      trial 3: val/loss 1.0", "left out  nothing"))
    assert [line for line in shown if line.startswith(("best", "left"))] == [
        "best trial 3: val/loss 1.0",
        "left out nothing",
    ]
    ledger.set(objectives=[{"metric": "val/loss"}, {"metric": "val/map"}])
    assert summarise(ledger).best is None
    assert [job.number for job in summarise(ledger).jobs] == [1, 2, 3]


def test_failures_come_with_the_end_of_their_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = middle_of_a_sweep(tmp_path / "sweeps" / "rates")
    ledger.change(2, tail="".join(f"line {number}\n" for number in range(9)), attempts=3)
    print_summary(summarise(ledger))
    captured = capsys.readouterr()
    assert "\nfailed    2 of 6 jobs: lab sweep retry or the same command starts them again\n" in captured.out
    assert captured.err.splitlines() == [
        "job 2 (optimizer.lr=1e-2) failed after 3 attempts: killed by SIGKILL",
        *[f"    | line {number}" for number in range(4, 9)],
        "job 3 (optimizer.lr=1e-3) poison: killed by SIGSEGV",
    ]


@pytest.mark.parametrize(
    ("counts", "total", "code"),
    [
        ({"finished": 3, "pruned": 2, "withdrawn": 1}, 6, 0),
        ({"finished": 3}, None, 0),
        ({"finished": 3}, 4, 1),
        ({"finished": 3, "waiting": 1}, 4, 1),
        ({"finished": 3, "failed": 1}, 4, 1),
        ({"finished": 3, "diverged": 1}, 4, 1),
        ({"finished": 3, "refused": 1}, 4, 1),
        ({"finished": 3, "poison": 1}, None, 1),
        ({"finished": 3, "interrupted": 1}, None, 1),
    ],
)
def test_exit_codes(counts: dict[Any, int], total: int | None, code: int) -> None:
    assert exit_code(counts, total) == code


@pytest.mark.parametrize("damage", ["[]", "{", '{"state": 3}', '{"result": []}', None])
def test_a_damaged_record_costs_nothing_that_the_ledger_has(damage: str | None, ledger: Ledger) -> None:
    for number in (1, 2):
        add(ledger, number, [f"seed={number}"], {"val/map": number / 10})
        record = ledger.file.parents[2] / f"run-{number}" / "run.json"
        if damage is None:
            record.unlink()
        else:
            record.write_text(damage)
    summary = summarise(ledger)
    assert [row["val/map"] for row in summary.rows] == [0.1, 0.2]
    assert [row["state"] for row in summary.rows] == ["finished", "finished"]


def test_numbers_that_are_not_defined(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    add(ledger, 1, ["seed=1"], {"val/map": None, "test/map": None})
    add(ledger, 2, ["seed=2"], {"val/map": 0.5, "test/map": 0.25})
    ledger.change(1, result={"val/map": float("nan")})
    summary = summarise(ledger)
    assert [line.split()[-1] for line in printed(summary, capsys) if " finished " in line] == ["0.2500", "-"]
    write_summary(summary)
    assert (ledger.file.parent / "summary.csv").read_text().splitlines()[2].endswith(",1,,")
    assert json.loads((ledger.file.parent / "summary.json").read_text())["jobs"][1]["result"]["test/map"] is None


def test_one_job_and_none(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert summarise(ledger).rows == []
    add(ledger, 1, ["seed=1"], {"val/map": 0.5})
    summary = summarise(ledger)
    assert (summary.varied, summary.best) == ([], None)
    assert not any("->" in line for line in printed(summary, capsys))


def test_hostile_texts_are_printed_safely(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    add(ledger, 1, ["x='\x1b[2J[red]a'", "y=1"], {"val/map": 0.5, "test/\x1b[31m[b]": 1.0})
    add(ledger, 2, ["x='=cmd|b'", "y=\u202e2"], {"val/map": 0.4})
    add(ledger, 3, ["x=c\x07", "y=3"], {})
    ledger.change(3, state="failed", problem="[bold]\x1b]0;t\x07\nsecond", tail="\x1b[2J[link]\nok")
    print_summary(summarise(ledger), ["more      \x1b[5m"])
    captured = capsys.readouterr()
    for evil in ("\x1b[2J", "\x1b]0", "\x07", "\u202e", "\x1b[5m", "\x1b[31m"):
        assert evil not in captured.out + captured.err
    assert "[red]a" in captured.out
    assert "[bold]" in captured.err
    assert "| ok" in captured.err


def test_very_many_jobs(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.add([(["model=detr_tiny", f"seed={number}"], "", {}) for number in range(300)])
    with ledger._changing() as database:
        database.execute("UPDATE jobs SET state = 'failed', problem = 'boom', tail = 'one line'")
    summary = summarise(ledger)
    print_summary(summary)
    captured = capsys.readouterr()
    assert f"100 more jobs are in {ledger.file.parent}" in captured.out
    assert captured.err.count("boom") == 100
    assert captured.err.count("one line") == 10
    assert failures(summary.jobs)[-1] == "and 200 more failed jobs, which lab sweep status --json lists"


def test_points_over_seeds(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: means 0.30 and 0.20; differences 0.08, 0.10, 0.12 give t = 0.1 / (0.02 / sqrt(3)) = 8.66, p = 0.0131."""
    values = {"1e-3": (0.26, 0.30, 0.34), "1e-4": (0.18, 0.20, 0.22)}
    for number, (rate, seed) in enumerate(((rate, seed) for rate in ("1e-4", "1e-3") for seed in range(3)), 1):
        words = ["model=detr_tiny", f"optimizer.lr={rate}", f"seed={seed}"]
        add(ledger, number, words, {"val/map": values[rate][seed]})
    assert summarise(ledger).seeds == []
    ledger.set(seeds=3)
    summary = summarise(ledger)
    shown = printed(summary, capsys)
    assert "-> optimizer.lr=1e-3 3 0.3000 0.0400 - -" in shown
    assert "optimizer.lr=1e-4 3 0.2000 0.0200 0.0131 0.0131" in shown
    assert (
        "best optimizer.lr=1e-3: val/map 0.3000 +- 0.0400 over 3 seeds (higher is better); "
        "worse with p < 0.05: 1 of 1 others" in shown
    )
    write_summary(summary)
    best, other = json.loads((ledger.file.parent / "summary.json").read_text())["seeds"]
    assert (best["jobs"], best["values"], best["p"]) == ([4, 5, 6], {"0": 0.26, "1": 0.3, "2": 0.34}, None)
    assert other["p_holm"] == pytest.approx(0.0131, abs=5e-5)
