"""Fixtures of the data tests: a fresh cache of ``datasets`` for each session, warnings said anew in each test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's cache out of the tests and forget which problems were reported."""
    import datasets

    from lab.data.images import annotations

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets_cache"))
    monkeypatch.setattr(annotations, "_reported", set())


@pytest.fixture
def data_dir() -> Path:
    """Return the folder of real datasets, or skip."""
    folder = os.environ.get("LAB_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real datasets: set LAB_DATA_DIR to their folder")
    return Path(folder)
