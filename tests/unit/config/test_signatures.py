"""Signatures from source text: what a target takes, without importing it."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from lab.config.arguments import Given, check_arguments
from lab.config.fields import Signature
from lab.config.signatures import find_signature
from lab.config.sources import find_module
from lab.errors import ConfigError

SOURCE = """
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from signed.other import Elsewhere, Renamed as Known

raise RuntimeError("imported")


class Plain:
    def __init__(self, width: int, rate: float = 0.1, *, name: str | None = None, kind: Literal["a", "b"] = "a",
                 sizes: Sequence[int] = (), flag: bool = False, hook: Any = None) -> None: ...

class Child(Plain):
    pass

class Open:
    def __init__(self, **arguments: Any) -> None: ...

def entry(extra: int = 0, **overrides: Any) -> Plain: ...

def quoted(**overrides: Any) -> "Elsewhere": ...

def unknown(**overrides: Any) -> int: ...

def fixed(width: int) -> Plain: ...

if True:
    def guarded(width: int) -> None: ...
"""
OTHER = """
class Elsewhere:
    def __init__(self, depth: int = 1) -> None: ...

class Renamed:
    def __init__(self, height: int = 1) -> None: ...
"""


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "signed" / "deep").mkdir(parents=True)
    (tmp_path / "signed" / "__init__.py").write_text("from .base import Plain as Exported\nfrom .stars import *\n")
    (tmp_path / "signed" / "base.py").write_text(SOURCE)
    (tmp_path / "signed" / "other.py").write_text(OTHER)
    (tmp_path / "signed" / "stars.py").write_text("NAME = 1\nthis is no Python\n")
    (tmp_path / "signed" / "deep" / "__init__.py").write_text("from ..other import Elsewhere\n")
    monkeypatch.syspath_prepend(tmp_path)


PLAIN = ["width", "rate", "name", "kind", "sizes", "flag", "hook"]


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("signed.base.Plain", PLAIN),
        ("signed.base.Child", PLAIN),
        ("signed.Exported", PLAIN),
        ("signed.base.Elsewhere", ["depth"]),
        ("signed.base.Known", ["height"]),
        ("signed.deep.Elsewhere", ["depth"]),
        ("signed.base.entry", [*PLAIN, "extra"]),
        ("signed.base.quoted", ["depth"]),
        ("signed.base.fixed", ["width"]),
        ("signed.base.guarded", ["width"]),
        ("signed.base.Open", None),  # takes anything
        ("signed.base.unknown", None),  # returns no class of known arguments
        ("signed.base.Plain.from_file", None),  # an attribute
        ("signed.Anything", None),  # may come from a star import
        ("signed.stars.Name", None),  # importing it will name the mistake
        ("signed.base.Sequence", None),
        ("sys.exit", None),
    ],
)
@pytest.mark.usefixtures("signed")
def test_what_a_target_takes(target: str, arguments: list[str] | None) -> None:
    signature = find_signature(target)
    assert (None if signature is None else list(signature.arguments)) == arguments
    assert "signed" not in sys.modules


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize(
    ("target", "problem", "near"),
    [
        ("signed.base.Plian", "signed.base has no 'Plian'", "'Plain'"),
        ("signed.deep.elsewhere.X", "signed.deep has no 'elsewhere'", ""),
        ("nothing.at.all", "there is no package 'nothing'", ""),
    ],
)
def test_what_does_not_exist(target: str, problem: str, near: str) -> None:
    with pytest.raises(LookupError) as caught:
        find_signature(target)
    assert caught.value.args[0] == problem
    assert near in caught.value.args[1]


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"width": 3, "rate": 1, "name": None, "kind": "b", "sizes": [1], "flag": True, "hook": {"a": 1}}, None),
        ({"width": {"_target_": "x"}}, None),
        ({"_target_": "x"}, None),
        ({"widht": 3}, r"at.widht: Plain takes no argument 'widht' \(here\); did you mean 'width'\?"),
        ({"width": 3.5}, r"at.width=3.5: Plain takes int \(here\)"),
        ({"width": True}, "takes int"),
        ({"rate": "fast"}, "takes float"),
        ({"rate": None}, "at.rate=null: Plain takes float"),
        ({"name": 3}, r"takes str \| None"),
        ({"kind": "c"}, "takes Literal"),
        ({"sizes": "1"}, "takes Sequence"),
        ({"flag": 1}, "takes bool"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, object], problem: str | None) -> None:
    signature = find_signature("signed.base.Plain")
    assert isinstance(signature, Signature)
    if problem is None:
        check_arguments(Given("at", arguments, lambda _: "here"), signature)
    else:
        with pytest.raises(ConfigError, match=problem):
            check_arguments(Given("at", arguments, lambda _: "here"), signature)


def test_the_text_says_what_python_says() -> None:
    from lab.models.detr.criterion import DETRLossOptions
    from lab.models.detr.network import DETR
    from lab.models.maskformer.criterion import MaskLossOptions
    from lab.models.maskformer.network import MaskFormer
    from lab.registry.arguments import signature_of
    from lab.tasks.detection.data.coco import CocoDataModule
    from lab.tasks.detection.data.voc import VocDataModule
    from lab.tasks.recommendation.data.interactions import MovieLensDataModule
    from lab.tasks.recommendation.data.sessions import SessionsDataModule
    from lab.tasks.segmentation.data.folder import FolderDataModule

    numbers = {field.name for options in (DETRLossOptions, MaskLossOptions) for field in fields(options)}
    images = (CocoDataModule, VocDataModule, FolderDataModule)
    for kind in (DETR, MaskFormer, *images, MovieLensDataModule, SessionsDataModule):
        text, live = find_signature(f"{kind.__module__}.{kind.__name__}"), signature_of(kind)
        assert text is not None
        assert live is not None
        assert list(text.arguments) == list(live.arguments)
        assert set(live.arguments) <= {*inspect.signature(kind).parameters, *numbers}
        assert ("cost_class" in text.arguments) == (kind in (DETR, MaskFormer))
        assert "loss_options" not in text.arguments


def test_modules_are_found_as_python_finds_them() -> None:
    assert find_module("lab.models.detr") == Path(sys.modules["lab"].__file__ or "").parent / "models/detr/__init__.py"
    assert find_module("lab.no_such_module") is None
    assert find_module("") is None
