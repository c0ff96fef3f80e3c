"""Strategies from the command line that need no other processes, or choose by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs import SMALL, Runs, only_run, record


def test_dp_trains_tests_and_resumes_in_one_process(runs: Runs, tmp_path: Path) -> None:
    words = (*SMALL, "strategy=dp", "trainer.devices=3", "trainer.accumulate_grad_batches=2")
    first = runs.run(*words, "trainer.max_steps=6", folder=tmp_path)
    assert first.code == 0, first.out + first.err
    run = only_run(tmp_path)
    found = record(run)
    assert found["world_size"] == 1
    assert found["strategy"] == {"name": "dp", "reason": "as configured"}
    assert "test/map" in found["result"]
    again = runs.run(f"resume={run}", "trainer.max_steps=12", folder=tmp_path)
    assert again.code == 0, again.out + again.err
    assert record(run)["resumed_at"] == [6]
    tested = runs.run("stage=test", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", folder=tmp_path)
    assert tested.code == 0, tested.out + tested.err


def test_zero_on_one_device_in_the_parent(runs: Runs, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed", reason="deepspeed is not installed: pip install 'lab[deepspeed]'")
    run = runs.fit("strategy=deepspeed_zero3", "trainer.devices=1", "trainer.max_steps=2", folder=tmp_path)
    assert "test/map" in record(run)["result"]


def test_two_devices_without_a_strategy_train_on_two_ranks(runs: Runs, tmp_path: Path) -> None:
    run = runs.fit("trainer.devices=2", "trainer.max_steps=3", folder=tmp_path)
    found = record(run)
    assert found["world_size"] == 2
    assert found["strategy"]["name"] == "ddp"
    assert found["strategy"]["reason"].startswith("the fastest that fits: ")


def test_what_fits_nowhere_is_one_line_and_leaves_no_run(runs: Runs, tmp_path: Path) -> None:
    words = (*SMALL, "strategy=auto", "strategy.memory_gib=0.0001")
    for devices in (1, 2):
        done = runs.run(*words, f"trainer.devices={devices}", folder=tmp_path)
        assert done.code == 2
        lines = done.err.strip().splitlines()
        assert "error: strategy=auto: nothing fits: " in lines[-1], lines
        assert len(lines) == 1
        assert not list((tmp_path / "runs").glob("*/run.json"))


def test_check_prints_the_table_and_what_would_run(runs: Runs, tmp_path: Path) -> None:
    for strategy, chosen in {"auto": "ddp", "fsdp": "fsdp"}.items():
        done = runs.run(*SMALL, "check=true", "trainer.devices=2", f"strategy={strategy}", folder=tmp_path)
        assert done.code == 0, done.err
        rows = [line for line in done.out.splitlines() if " ddp " in line or " fsdp " in line]
        assert len(rows) == 2
        assert [row for row in rows if f"-> {chosen} " in row]
        assert all("fits" in row for row in rows)
    assert not (tmp_path / "runs").exists()
