"""Libraries of the extra ``geometry``, loaded when they are used."""

from __future__ import annotations

from typing import Any

from lab.errors import GeometryError


def load_manifold() -> Any:
    """Return the module manifold3d.

    Raises:
        GeometryError: it is not installed.
    """
    try:
        import manifold3d
    except ImportError as error:
        raise GeometryError("booleans and polygons need manifold3d: pip install 'lab[geometry]'") from error
    return manifold3d
