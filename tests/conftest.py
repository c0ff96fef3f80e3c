"""Settings of the environment that must stand before torch is imported; one driver for all commands of a session."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator

import pytest

from tests.runs import Runs

# Tests run beside other processes, and compare runs to the last digit: nothing is measured (lab.launch.threads).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The same ways to compute on every machine; tests of the ways take each (tests/kernels.py).
os.environ.setdefault("LAB_KERNELS", "fixed")
atexit.register(gc.unfreeze)  # Triton complains of what the end of its process does not reach


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A worker for each core, at most four: each takes 2 to 3 GiB, and tests start processes of their own."""
    return min(len(os.sched_getaffinity(0)), 4)


@pytest.fixture(autouse=True, scope="module")
def _set_aside() -> Iterator[None]:
    """What tests import stays, millions of objects: no collection of a later test goes through it again."""
    yield
    pytest_collection_finish()


def pytest_collection_finish() -> None:
    """What was collected stays as well."""
    gc.collect()
    gc.freeze()


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
