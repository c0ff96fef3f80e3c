"""The method of learning that a config names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lab.tasks.classification.semi.methods import Supervised
from lab.tasks.classification.semi.mixmatch import MixMatch
from lab.tasks.classification.semi.pseudo_label import PseudoLabel


def make_method(learning: Mapping[str, Any]) -> Supervised:
    """Return the method that ``model.learning`` describes."""
    kinds: dict[str, Callable[[], Supervised]] = {
        "supervised": Supervised,
        "mixmatch": lambda: MixMatch(learning["temperature"], learning["alpha"]),
        "pseudo_label": lambda: PseudoLabel(learning["threshold"]),
    }
    return kinds[learning["method"]]()
