"""One trained run of each kind of problem, which the tests of commands read and copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs import DETECTOR, RECOMMENDER, SEGMENTER, Runs, only_run


def fitted(runs: Runs, folder: Path, words: tuple[str, ...]) -> Path:
    command = runs.run(*words, folder=folder)
    assert command.code == 0, command.out[-2000:] + command.err
    return only_run(folder)


@pytest.fixture(scope="session")
def detector(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run of ``DETECTOR``; other stages may write beside its files, and nothing may change them."""
    return fitted(runs, tmp_path_factory.mktemp("detector"), DETECTOR)


@pytest.fixture(scope="session")
def segmenter(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of ``SEGMENTER``."""
    return fitted(runs, tmp_path_factory.mktemp("segmenter"), SEGMENTER)


@pytest.fixture(scope="session")
def recommender(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of ``RECOMMENDER``."""
    return fitted(runs, tmp_path_factory.mktemp("recommender"), RECOMMENDER)
