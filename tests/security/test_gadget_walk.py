"""Red team: every public callable that the allowed packages hold, by every dotted path, and nothing but kinds gets by.

The packages are walked as they are installed, re-exports and attributes of classes included. A path is either refused
or names a class of an allowed kind, defined where the path says: there is no third. All 1.5 million paths take minutes
(``LAB_RED_TEAM=all``); a share of them, chosen by the checksum of the names, is walked otherwise, and all of lab's.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn

from lab.config import definitions, signatures, sources
from lab.data.datamodule import DataModule
from lab.errors import ConfigError
from lab.registry import allowed

PACKAGES = ("torch", "torchvision", "timm", "transformers", "lab", "lightning")
LOADED = (
    *PACKAGES,
    "lab.experiment.fit",
    "lab.cli.main",
    "lightning.pytorch",
    "timm.optim",
    "timm.utils",
    "torch.distributed.nn.api.remote_module",
    "torch.fx",
    "torch.hub",
    "torch.package",
    "torch.utils.collect_env",
    "torch.utils.cpp_extension",
    "transformers.models.bert.modeling_bert",
    "transformers.models.detr.modeling_detr",
)
KINDS = (nn.Module, torch.optim.Optimizer, DataModule, Callback)
NEVER = (LightningModule, torch.jit.ScriptModule, torch.fx.GraphModule)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for each module file once: there are tens of thousands of paths."""
    find = functools.cache(sources.find_module)
    for module in (allowed, definitions, signatures, sources):
        monkeypatch.setattr(module, "find_module", find)
    monkeypatch.setattr(allowed, "closest", lambda *_: "")
    monkeypatch.setattr(allowed, "public_names", lambda _: set())


def chosen(name: str, share: int) -> bool:
    """Whether a name is among those walked, one in ``share``."""
    return os.environ.get("LAB_RED_TEAM") == "all" or zlib.crc32(name.encode()) % share == 0


def public(owner: Any) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(owner).items()):
        if not name.startswith("_"):
            yield name, value.__func__ if isinstance(value, classmethod | staticmethod) else value


def paths(roots: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield each dotted path of a callable: of modules, of modules that modules hold, and of classes."""
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] not in roots or not inspect.ismodule(module):
            continue
        if not (name in LOADED or name.startswith("lab.") or chosen(name, 12)):
            continue
        for key, value in public(module):
            path = f"{name}.{key}"
            if inspect.ismodule(value):
                if value.__name__ != path:  # an attribute walk: torch.os, torchvision.torch, lab.training.task.torch
                    yield from (
                        (f"{path}.{below}", thing)
                        for below, thing in public(value)
                        if callable(thing) and chosen(f"{path}.{below}", 24)
                    )
            elif callable(value):
                yield path, value
                if inspect.isclass(value) and value.__module__ == name:
                    yield from ((f"{path}.{below}", thing) for below, thing in public(value) if callable(thing))


def is_right(path: str, found: Any) -> bool:
    """Whether what a path was admitted as is what may be named."""
    if any(function is found for function in allowed._entry_functions):
        return path == f"{found.__module__}.{found.__name__}"
    module, _, name = path.rpartition(".")
    short = module in ("torch.nn", "torch.optim", "torchvision.transforms.v2")
    return (
        inspect.isclass(found)
        and issubclass(found, KINDS)
        and not issubclass(found, NEVER)
        and found.__qualname__ == name
        and (short or found.__module__ == module)
    )


@pytest.mark.usefixtures("fast")
def test_no_callable_of_another_kind_gets_by() -> None:
    for name in LOADED:
        importlib.import_module(name)
    count, admitted, wrong = 0, 0, []
    for path, _ in paths(PACKAGES):
        count += 1
        try:
            found = allowed.admit(path)
        except ConfigError:
            continue
        admitted += 1
        if not is_right(path, found):
            wrong.append((path, found))
    assert not wrong, wrong[:20]
    assert count > 10_000
    assert 100 < admitted < 0.05 * count, (admitted, count)
    print(f"{count} paths, {admitted} of them admitted")
