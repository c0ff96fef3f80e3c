"""lab: an experiment platform on Lightning and Hydra.

Importing this package is cheap: torch is imported only when one of the exported functions needs it. ``lab.api``
documents the functions; ``docs/python.md`` is a tutorial.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.api import (
        Config,
        Evaluation,
        Run,
        Runs,
        check,
        compose,
        fit,
        load,
        predict,
        read_run,
        runs,
        test,
        validate,
    )
    from lab.errors import CheckpointError, ConfigError, DataError, Diverged, LabError, Pruned, RegistryError, RunError
    from lab.inspection.capture import capture
    from lab.layers.deploy import deploy
    from lab.registry.build import build
    from lab.registry.create import create_model
    from lab.registry.models import list_models

__all__ = [
    "CheckpointError",
    "Config",
    "ConfigError",
    "DataError",
    "Diverged",
    "Evaluation",
    "LabError",
    "Pruned",
    "RegistryError",
    "Run",
    "RunError",
    "Runs",
    "build",
    "capture",
    "check",
    "compose",
    "create_model",
    "deploy",
    "fit",
    "list_models",
    "load",
    "predict",
    "read_run",
    "runs",
    "test",
    "validate",
]
__version__ = "0.1.0"

_MODULES = {
    "lab.errors": (
        "CheckpointError",
        "ConfigError",
        "DataError",
        "Diverged",
        "LabError",
        "Pruned",
        "RegistryError",
        "RunError",
    ),
    "lab.inspection.capture": ("capture",),
    "lab.layers.deploy": ("deploy",),
    "lab.registry.build": ("build",),
    "lab.registry.create": ("create_model",),
    "lab.registry.models": ("list_models",),
}
"""The modules of the exported names that are not in ``lab.api``."""
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'lab' has no attribute {name!r}")
    return getattr(import_module(_PLACES.get(name, "lab.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
