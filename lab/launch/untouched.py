"""Restores the state of a Python process after a call of lab. Imports no torch.

A command ends with its process, so it may set seeds, environment variables and warning filters. A Python caller needs
its own back.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lab.system.registrations import temporary

_LOGGERS = ("lightning.pytorch", "lightning.fabric")


@contextmanager
def untouched() -> Iterator[None]:
    """Within this context lab may change the state of the process; at the end it is restored.

    The state is: environment variables, the folder of temporary files, ``sys.path``, warning filters, logger levels,
    Hydra's state, the random-number generators of Python, numpy and torch, torch's choice of deterministic algorithms,
    and what packages of ``extensions=`` have registered. Concurrent calls of several threads would restore each
    other's state.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(temporary())
        stack.callback(_restore_process, dict(os.environ), tempfile.tempdir, list(sys.path))
        stack.callback(_restore_levels, {name: logging.getLogger(name).level for name in _LOGGERS})
        stack.callback(random.setstate, random.getstate())
        stack.callback(_restore_libraries, _libraries())
        stack.enter_context(_hydra())
        yield


def _restore_process(environment: dict[str, str], folder: str | None, path: list[str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    tempfile.tempdir = folder
    sys.path[:] = path


def _restore_levels(levels: dict[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _libraries() -> dict[str, Any]:
    """Return the states of the libraries that are imported; others have none to keep."""
    found: dict[str, Any] = {}
    if (numpy := sys.modules.get("numpy")) is not None:
        found["numpy"] = numpy.random.get_state()
    if (torch := sys.modules.get("torch")) is not None:
        cuda = torch.cuda.is_initialized()
        found["torch"] = {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if cuda else None,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
            "benchmark": torch.backends.cudnn.benchmark,
            "dtype": torch.get_default_dtype(),
        }
    return found


def _restore_libraries(states: dict[str, Any]) -> None:
    if "numpy" in states:
        sys.modules["numpy"].random.set_state(states["numpy"])
    torch = sys.modules.get("torch")
    if torch is None:
        return
    state = states.get("torch") or {"deterministic": False, "warn_only": False}  # the call has imported torch
    torch.use_deterministic_algorithms(state["deterministic"], warn_only=state["warn_only"])
    if "torch" in states:
        torch.set_rng_state(state["cpu"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state_all(state["cuda"])
        torch.backends.cudnn.benchmark = state["benchmark"]
        torch.set_default_dtype(state["dtype"])


@contextmanager
def _hydra() -> Iterator[None]:
    """Restore Hydra's global state, which composing clears."""
    if "hydra" not in sys.modules:
        yield
        return
    from lab.compat.hydra import composed_by_caller, give_back

    before = composed_by_caller()
    try:
        yield
    finally:
        give_back(before)
