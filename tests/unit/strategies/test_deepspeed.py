"""The deepspeed strategies where deepspeed is not installed."""

from __future__ import annotations

import os
import sys

import pytest

from lab.compat.deepspeed import environment
from lab.errors import ConfigError


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.strategies.deepspeed import ZeroStrategy

    monkeypatch.setitem(sys.modules, "deepspeed", None)  # as if there were none
    with pytest.raises(ConfigError) as error:
        ZeroStrategy()
    assert str(error.value) == ("the deepspeed strategies need the package deepspeed: pip install 'lab[deepspeed]'")


def test_importing_the_strategy_imports_no_deepspeed() -> None:
    import subprocess

    code = "import sys, lab.strategies.deepspeed; sys.exit('deepspeed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == 0


def test_variables_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KEPT", "old")
    monkeypatch.setenv("LAB_GONE", "there")
    with environment({"LAB_KEPT": "new", "LAB_ADDED": "1"}, without=("LAB_GONE",)):
        assert (os.environ["LAB_KEPT"], "LAB_GONE" in os.environ) == ("new", False)
        os.environ["LAB_LEFT"] = "by a library"
    assert (os.environ["LAB_KEPT"], os.environ["LAB_GONE"]) == ("old", "there")
    assert not {"LAB_ADDED", "LAB_LEFT"} & os.environ.keys()
