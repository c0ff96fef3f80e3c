"""Where two runs differ in what they were made of, and which of it may change numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.report.records.facts import FactDifference, Facts, changes_numbers, differences, read_facts
from tests.reports import write_run


def shown(found: list[FactDifference]) -> dict[str, tuple[Any, Any, bool]]:
    return {f"{fact.group} {fact.key}": (fact.one, fact.other, fact.changes_numbers) for fact in found}


def test_equal_runs_differ_in_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, points=20)
    assert differences(read_facts(tmp_path / "a"), read_facts(tmp_path / "b")) == []


def test_each_group(tmp_path: Path) -> None:
    write_run(tmp_path / "a", points=20, hardware="cpu", strategy={"name": "single", "reason": "one device"})
    more: dict[str, Any] = {
        "versions": {"python": "3.11.7", "torch": "2.16.0", "numpy": "2"},
        "commit": "b" * 40,
        "sources": "00",
        "dataset": "d",
        "machine": {"host": "other", "cpu": "Xeon", "cores": 2, "memory_gib": 8},
        "strategy": {"name": "ddp", "reason": "asked for", "settings": {"name": "ddp"}},
        "diff": "uncommitted.diff",
    }
    write_run(tmp_path / "b", 1, 1e-5, 20, **more)
    (tmp_path / "b" / "uncommitted.diff").write_text("--- a/lab/x.py\n+++ b/lab/x.py\n")
    assert shown(differences(read_facts(tmp_path / "a"), read_facts(tmp_path / "b"))) == {
        "config seed": (0, 1, True),
        "config optimizer.lr": (1e-3, 1e-5, True),
        "versions torch": ("2.15.0", "2.16.0", True),
        "versions numpy": ("-", "2", True),
        "sources fingerprint": ("ab" * 32, "00", True),
        "sources commit": ("c9bbe37a" * 5, "b" * 40, False),
        "sources uncommitted changes": ("-", "1 file: lab/x.py", False),
        "data fingerprint": ("-", "d", True),
        "hardware host": ("atlas", "other", False),
        "hardware cpu": ("AMD EPYC", "Xeon", True),
        "hardware memory_gib": (23.5, 8, False),
        "hardware device": ("cpu", "-", True),
        "hardware strategy": ("single", "ddp", True),
    }


def test_a_key_that_was_added_later_has_its_default_in_an_older_config() -> None:
    kind = {"name": "detection"}
    old = Facts({"trainer": {"devices": 1}, "eval": kind}, {})
    new: dict[str, Any] = {
        "trainer": {"devices": 1, "on_nonfinite": "stop"},
        "eval": {**kind, "also": None},
        "data": {"num_workers": 2},
    }
    assert shown(differences(old, Facts(new, {}))) == {"config data.num_workers": ("-", 2, False)}
    changed = {**new, "trainer": {"devices": 1, "on_nonfinite": "skip"}}
    assert shown(differences(old, Facts(changed, {})))["config trainer.on_nonfinite"] == ("stop", "skip", True)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("optimizer.lr", True),
        ("data.num_workers", False),
        ("logger.wandb.mode", False),
        ("paths.runs_dir", False),
        ("data.name", True),
        ("debug.profiler", True),
        ("debug.profile", False),
    ],
)
def test_keys_that_change_numbers(key: str, expected: bool) -> None:
    assert changes_numbers(key) is expected


def test_what_cannot_be_read_is_said_and_files_outside_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("+++ b/secret\n")
    run = tmp_path / "a"
    for diff in ("../secret", str(secret), "..", "linked", 5, "nul\x00"):
        shutil.rmtree(run, ignore_errors=True)
        write_run(run, points=20, diff=diff)
        (run / "linked").symlink_to(secret)
        facts = read_facts(run)
        assert facts.patch == ""
        assert len(facts.problems) == 1, diff
    (run / "run.json").write_text(json.dumps([]))
    (run / "config.yaml").write_text(yaml.safe_dump([1]))
    assert read_facts(run).problems == ("run.json is a JSON list, no mapping", "config.yaml is not a mapping")
