"""Libraries of the extra ``geometry``, loaded when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from lab.errors import GeometryError


def load_manifold() -> Any:
    """Return the module manifold3d, for booleans and triangulations.

    Raises:
        GeometryError: it is not installed.
    """
    return _load("manifold3d", "booleans and filled polygons need")


def load_shapely() -> Any:
    """Return the module shapely, which says where a polygon crosses itself.

    Raises:
        GeometryError: it is not installed.
    """
    return _load("shapely", "polygons need")


def _load(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise GeometryError(f"{what} the package {name} ({error}): pip install 'lab[geometry]'") from error
