"""Run directories from a stranger: tables of runs stay tables, whatever stands in the files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab.cli.main import main
from tests.reports import write_run

UNSAFE = "\x1b[2J\x1b]0;owned\x07\r\n\u202e\x9b31m"


def fill(run: Path, name: str, content: str) -> None:
    (run / name).unlink()
    (run / name).write_text(content, encoding="utf-8")


def pipe(run: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)


def changed(run: Path, **entries: object) -> None:
    fill(run, "run.json", json.dumps(json.loads((run / "run.json").read_text()) | entries))


ATTACKS = {
    "control characters": lambda run: changed(
        run, overrides=[f"model={UNSAFE}", UNSAFE], state="failed", error=UNSAFE, monitor=f"val/{UNSAFE}"
    ),
    "control characters in the config": lambda run: fill(
        run, "config.yaml", json.dumps({"model": {"name": UNSAFE}, "data": {"name": UNSAFE}})
    ),
    "control characters in metrics": lambda run: (
        changed(run, result={}, state="failed"),
        fill(run, "metrics.csv", "step,epoch,val/\x1b[2J\n1,0,0.5\n"),
    ),
    "absurd numbers": lambda run: fill(
        run,
        "run.json",
        (run / "run.json")
        .read_text()
        .replace('"val/map": ', '"val/map": 1e999, "val/x": NaN, "val/y": -Infinity, "z": '),
    ),
    "an integer of many digits": lambda run: fill(
        run, "run.json", '{"state": "finished", "steps": ' + "9" * 5000 + "}"
    ),
    "an integer above any float": lambda run: changed(run, result={"val/map": 10**400}),
    "deep nesting": lambda run: fill(run, "run.json", "[" * 1_000_000),
    "deep nesting of mappings": lambda run: fill(run, "run.json", '{"a":' * 1_000_000),
    "deep nesting of the config": lambda run: fill(run, "config.yaml", "[" * 200_000),
    "deep nesting of the config by dashes": lambda run: fill(run, "config.yaml", "- " * 100_000),
    "other types": lambda run: changed(run, overrides="x", result=[1], state=["finished"], started=5, monitor={}),
    "no key": lambda run: fill(run, "run.json", "{}"),
    "a date beyond all": lambda run: changed(run, started="9999-12-31T23:59:59", ended="-1"),
    "pipes": lambda run: [pipe(run, name) for name in ("run.json", "config.yaml", "metrics.csv", "run.lock")],
    "links out of the folder": lambda run: [
        ((run / name).unlink(), (run / name).symlink_to("/etc/passwd"))
        for name in ("run.json", "config.yaml", "metrics.csv")
    ],
    "steps without end": lambda run: fill(run, "metrics.csv", "step,epoch\n" + "9" * 10_000 + ",0\n"),
    "a field without end": lambda run: fill(run, "metrics.csv", 'step,"' + "x" * 300_000),
    "bytes": lambda run: (run / "run.json").write_bytes(bytes(range(256))),
    "null bytes": lambda run: fill(run, "metrics.csv", "step,epoch\n\x00,\x00\n"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_table_of_runs_survives(attack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("mine", "theirs"):
        write_run(tmp_path / name, words=("model=detr_tiny", f"seed={name}"), points=20)
    ATTACKS[attack](tmp_path / "theirs")
    for flags in ((), ("--json",), ("--csv",), ("--sort=map",), ("--sort=state",)):
        assert main(["runs", str(tmp_path), *flags]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert not set("\x1b\x07\r\u202e\x9b\x00") & set(out)
        assert "mine" in out
        assert "theirs" in out
        if flags == ():
            assert out.splitlines()[-2 if "cannot be read" in out else -1].startswith("2 runs in ")
        if flags == ("--json",):
            assert len(json.loads(out)["runs"]) == 2


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_difference_of_two_runs_survives(attack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("mine", "theirs"):
        write_run(tmp_path / name, words=("model=detr_tiny",), points=20)
    ATTACKS[attack](tmp_path / "theirs")
    for words in (("mine", "theirs"), ("theirs", "mine"), ("theirs", "theirs")):
        for flags in ((), ("--json",)):
            assert main(["diff", *(str(tmp_path / word) for word in words), *flags]) == 0
            out, err = capsys.readouterr()
            assert err == ""
            assert not set("\x1b\x07\r\u202e\x9b\x00") & set(out)
            if flags:
                json.loads(out)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_of_theirs_makes_clean_delete_mine(
    attack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine", "theirs"):
        write_run(tmp_path / name, points=20)
    ATTACKS[attack](tmp_path / "theirs")
    kept = {path for path in tmp_path.rglob("*") if path.is_relative_to(tmp_path / "mine")}
    assert main(["clean", str(tmp_path), "--yes"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert not set("\x1b\x07\r\u202e\x9b\x00") & set(out)
    assert {path for path in tmp_path.rglob("*") if path.is_relative_to(tmp_path / "mine")} == kept
    assert (tmp_path / "theirs" / "checkpoints" / "best.ckpt").is_dir() or "failed without" in out


@pytest.mark.parametrize("attack", ["control characters", "no key", "other types", "deep nesting", "pipes"])
def test_a_rerun_of_a_strangers_run_is_refused_in_one_line(
    attack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "theirs", points=20)
    ATTACKS[attack](tmp_path / "theirs")
    assert main(["rerun", str(tmp_path / "theirs"), "--check"]) == 2
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1
    assert not set("\x1b\x07\r\u202e\x9b\x00") & set(out + err)


def test_names_of_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a\x1b[2Jb", points=20)
    (tmp_path / os.fsdecode(b"foreign\xff\x1b")).mkdir()
    for flags in ((), ("--json",), ("--csv",)):
        assert main(["runs", str(tmp_path), *flags]) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out
        out.encode()
