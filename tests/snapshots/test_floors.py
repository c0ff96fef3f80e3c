"""A floor in pyproject.toml is the version that ``.ci/versions oldest`` tests; what CI runs is below each ceiling."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDS = [
    Requirement(text) for text in [*PROJECT["dependencies"], *EXTRAS["deepspeed"], *EXTRAS["sweep"], *EXTRAS["test"]]
]
NEEDS = [need for need in NEEDS if need.name != "lab"]


def pins(name: str) -> dict[str, Version]:
    """Return the versions of a file of constraints by name."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [line.partition("==") for line in lines if re.match(r"[a-z]", line)]
    return {canonicalize_name(package): Version(version) for package, _, version in found}


OLDEST, NEWEST = pins("constraints-oldest.txt"), pins("constraints.txt")


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.name)
def test_a_floor_is_what_is_tested(need: Requirement) -> None:
    floors = [Version(each.version) for each in need.specifier if each.operator == ">="]
    assert floors == [OLDEST[canonicalize_name(need.name)]]
    assert NEWEST[canonicalize_name(need.name)] in need.specifier


def test_torch_has_a_tested_ceiling() -> None:
    for name in ("torch", "torchvision"):
        need = next(need for need in NEEDS if need.name == name)
        major, minor, *_ = NEWEST[name].release
        assert f"<{major}.{minor + 1}" in str(need.specifier).split(",")


def test_no_constraint_names_a_place() -> None:
    for name in ("constraints.txt", "constraints-oldest.txt"):
        assert "//" not in (ROOT / name).read_text(encoding="utf-8")
