"""What W&B's SDK does not promise: each test has the name of its function."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.compat import wandb as compat


def test_known_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says = "print(said.mode, said.base_url, said.api_key, said.identity_token_file)"
    code = f"from lab.compat.wandb import known_settings; said = known_settings(); {says}"
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["offline", "http://127.0.0.1:9", "None", "None"]


def test_make_settings_and_experimental() -> None:
    settings = compat.make_settings({**compat.EXPERIMENTAL, "silent": True, "of_another_version": 1})
    assert settings.silent is True
    for name, value in compat.EXPERIMENTAL.items():
        assert getattr(settings, name) == value


def test_recorded_step() -> None:
    # What it is read from is the matter of tests/unit/loggers/test_wandb_run.py, with the real command.
    row = {"type": "history", "history": {"item": {"_step": "12", "train/loss": "0.5"}}}
    assert compat.recorded_step(json.dumps(row, separators=(",", ":"))) == 12
    assert compat.recorded_step('{"type":"summary"}') is None


def test_system_settings() -> None:
    for interval, name, value in ((None, "x_disable_stats", True), (7.5, "x_stats_sampling_interval", 7.5)):
        chosen = compat.system_settings(interval)
        assert chosen == {name: value}
        assert getattr(compat.make_settings(chosen), name) == value  # this version knows it


def test_view_content() -> None:
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    view = workspaces.Workspace(entity="e", project="p", name="curves", sections=[workspaces.Section(name="losses")])
    content = compat.view_content(view)
    assert content["name"] == "curves"
    assert "losses" in json.dumps(content["spec"])
