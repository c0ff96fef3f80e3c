"""Settings of the environment that must stand before torch is imported; one driver for all commands of a session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.runs import Runs

# As the launcher does: OpenMP's threads spin while they wait, which beside other processes costs more than the work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True)
def _no_service_left() -> Iterator[None]:
    """W&B names its service in the environment, where commands of later tests would look for it."""
    yield
    os.environ.pop("WANDB_SERVICE", None)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    driver = Runs(tmp_path_factory.mktemp("runs"))
    yield driver
    driver.close()
