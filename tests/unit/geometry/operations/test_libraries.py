"""Without the extra, one line says what is missing and how to get it."""

import sys

import pytest

from lab.errors import GeometryError
from lab.geometry.operations.extrude import extrude_polygon
from lab.geometry.operations.libraries import load_manifold


def test_what_is_missing_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "manifold3d", None)
    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(GeometryError, match=r"need the package manifold3d .*: pip install 'lab\[geometry\]'"):
        load_manifold()
    with pytest.raises(GeometryError, match=r"polygons need the package shapely .*: pip install 'lab\[geometry\]'"):
        extrude_polygon([(0, 0), (1, 0), (0, 1)])
