"""lab: an experiment platform on Lightning and Hydra.

Importing this package is cheap: torch is imported only when one of the exported functions is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.registry.build import build
    from lab.registry.create import create_model
    from lab.registry.models import list_models
    from lab.tasks.recommendation.recommender import load_recommender

__all__ = ["build", "create_model", "list_models", "load_recommender"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load_recommender":
        from lab.tasks.recommendation.recommender import load_recommender

        return load_recommender
    if name == "build":
        from lab.registry.build import build

        return build
    if name in __all__:
        import lab.registry

        return getattr(lab.registry, name)
    raise AttributeError(f"module 'lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
