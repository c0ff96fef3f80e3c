"""Models by name, objects from dicts (``lab.build``), weights from files. User packages register models here."""

from lab.registry.allowed import allow_package, register
from lab.registry.create import create_model, load_weights
from lab.registry.migrations import migrates
from lab.registry.models import is_model, list_models, register_model

__all__ = [
    "allow_package",
    "create_model",
    "is_model",
    "list_models",
    "load_weights",
    "migrates",
    "register",
    "register_model",
]
