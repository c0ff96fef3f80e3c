"""One driver for all commands of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runs import Runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    driver = Runs(tmp_path_factory.mktemp("runs"))
    yield driver
    driver.close()
