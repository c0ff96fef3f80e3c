"""Names of models in timm's manner: ``[source:]name[.tag]``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lab.errors import RegistryError

SOURCES = ("lab", "timm", "local-dir", "hf-hub")
WEIGHT_FILES = (".pth", ".pt", ".ckpt", ".npz", ".pkl", ".safetensors", ".mdlus", ".index", ".weights")
"""Suffixes of files of weights; any other name that is not an existing file counts as a tag."""


class ModelName(NamedTuple):
    """The source of a model (one of ``SOURCES``) and its name there, tag included."""

    source: str
    name: str


def split_model_name_tag(name: str) -> tuple[str, str]:
    """Split ``"resnet50.tv_in1k"`` at its first dot into name and tag; the tag is ``""`` if there is none."""
    base, _, tag = name.partition(".")
    return base, tag


def parse_model_name(name: str) -> ModelName:
    """Split ``"timm:resnet50"`` into source and name; a name without a source is one of lab's.

    Raises:
        RegistryError: the source is unknown, the name empty, or written with a slash as in ``timm/resnet50``.
    """
    source, colon, rest = name.partition(":")
    if not colon:
        source, rest = "lab", name
    source = source.replace("_", "-")
    if source not in SOURCES:
        raise RegistryError(f"model {name!r}: unknown source {source!r}, not one of {listed(SOURCES)}")
    if not rest:
        raise RegistryError(f"model {name!r}: the name is empty")
    if source == "lab" and "/" in rest:
        first, _, base = rest.partition("/")
        hint = f"timm:{base}" if first == "timm" else f"hf-hub:{rest}' or 'local-dir:{rest}"
        raise RegistryError(f"model {name!r}: a name of ours has no slash; for another source write '{hint}'")
    return ModelName(source, rest)


def listed(names: Iterable[str]) -> str:
    """Return names in quotes, with commas between them."""
    return ", ".join(map(repr, names))
