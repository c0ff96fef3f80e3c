"""One table of arguments through both doors: source texts and imported objects are judged alike, in the same words."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.annotations import relations, shown
from lab.config.arguments import Given, check_arguments
from lab.config.compose import config_dir
from lab.config.fields import Signature
from lab.config.signatures import find_signature
from lab.config.sources import look_up
from lab.errors import ConfigError
from lab.registry.arguments import check_call, signature_of
from lab.registry.models import list_models, model_entry, model_entrypoint

Door = Callable[[str, str], Signature]

SOURCE = """
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

from torch import Tensor

from lab.ranges import AtMost, Below, Divides, Ge, Gt, Le, MinLen, OneOf, Options
from lab.ranges import Size as Width
from ranged_other import Policy

Share = Annotated[float, Gt(0), Le(1)]


@dataclass
class Numbers:
    flip: Share = 0.5
    sides: Sequence[Width] | None = None


class Net:
    def __init__(self, width: Width = 8, heads: Annotated[Width, Divides("width")] = 2, share: Share | None = None,
                 sizes: Annotated[Sequence[Width], MinLen(1)] = (1,), pair: tuple[int, float] = (1, 1.0),
                 policy: Policy = "skip", word: Annotated[str, OneOf("a", "b")] = "a",
                 low: Annotated[int, AtMost("high")] = 0, high: int = 3, below: Annotated[float, Below("high")] = 0.0,
                 options: Annotated[Mapping[str, Any] | None, Options(Numbers)] = None,
                 old: Optional["Width"] = None, names: Mapping[str, str] | None = None,
                 tensor: Tensor | None = None, maybe: bool | Width = True) -> None: ...

def entry(**overrides: Any) -> Net: ...

def needing(width: Width, /, depth: int, *, height: int = 1) -> None: ...

def taking_any(width: Width = 1, **others: Any) -> None: ...
"""
OTHER = 'from typing import Literal\nPolicy = Literal["skip", "error"]\n'


RIGHT: list[dict[str, Any]] = [
    {"width": 1, "heads": 1, "share": 1, "sizes": [3, 4], "pair": [2, 0.5], "policy": "error", "word": "b"},
    {"share": None, "old": None, "tensor": "anything", "maybe": True, "options": None},
    {"maybe": 3, "old": 7, "options": {"flip": 1.0, "sides": [5]}, "low": 3, "high": 3, "below": 2.9},
    {"width": 6, "heads": 3, "names": {"a": "b", "c": None}},
    {"heads": 4},  # divides the default
    {"width": {"_target_": "x"}},
    {"_target_": "x", "_partial_": True, "_args_": []},
    {"sizes": (3, 4), "pair": (2, 0.5)},  # from Python
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"widht": 3}, r"at.widht: Net takes no argument 'widht' \(here\); did you mean 'width'\?"),
    ({"_recursive_": True}, "at._recursive_: Net takes no argument '_recursive_'.*; it takes width, heads, share"),
    ({"width": 0}, r"at.width=0: should be greater than or equal to 1 \(here\)"),
    ({"width": 10**11}, "should be less than or equal to 100000"),
    ({"width": 3.0}, r"at.width=3.0: Net takes int \(here\)"),
    ({"width": True}, "Net takes int"),
    ({"width": "3"}, r"at.width='3': Net takes int"),
    ({"share": 0}, "should be greater than 0"),
    ({"share": float("nan")}, "at.share=nan: should be a finite number"),
    ({"share": float("inf")}, "at.share=inf"),
    ({"sizes": []}, "should have at least 1 item"),
    ({"sizes": [4, 0]}, "at.sizes.1=0: should be greater than or equal to 1"),
    ({"sizes": [4, "a"]}, "at.sizes.1=a: should be an integer"),
    ({"sizes": "4"}, "at.sizes='4': Net takes Sequence"),
    ({"names": {"a": 3}}, r"at.names.a=3: should be a text \(here\)"),
    ({"names": ["a"]}, "takes Mapping"),
    ({"pair": [1]}, r"at.pair.1=.*is missing"),
    ({"pair": [1.5, 1]}, "at.pair.0=1.5: should be an integer"),
    ({"policy": "skp"}, r"Net takes Literal\['skip', 'error'\].*'skip'"),
    ({"word": "c"}, r"Net takes Literal\['a', 'b'\]"),
    ({"old": 0}, "at.old=0: should be greater than or equal to 1"),
    ({"maybe": 0}, "at.maybe=0: should be greater than or equal to 1"),
    ({"heads": 3}, r"at.heads=3 \(here\): must divide at.width=8, its default"),
    ({"width": 9, "heads": 2}, r"at.heads=2 \(here\): must divide at.width=9 \(here\)"),
    ({"low": 4}, "must be at most at.high=3, its default"),
    ({"below": 3}, "must be below at.high=3"),
    ({"options": {"flip": 2}}, r"at.options.flip=2: should be less than or equal to 1"),
    ({"options": {"flp": 2}}, r"at.options.flp: Numbers takes no argument 'flp'.*'flip'"),
    ({"options": {"sides": [0]}}, r"at.options.sides.0=0"),
]


MODULES = ("ranged_texts", "ranged_objects")
"""The same source with annotations as texts, and as objects."""


def write_modules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ranged_objects.py").write_text(SOURCE)
    (folder / "ranged_texts.py").write_text("from __future__ import annotations\n" + SOURCE)
    (folder / "ranged_other.py").write_text(OTHER)
    monkeypatch.syspath_prepend(folder)
    for module in (*MODULES, "ranged_other"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    look_up.cache_clear()  # each test writes them into a folder of its own


@pytest.fixture(params=["read", "imported"])
def door(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    """Return the signature of a name of a module, read or imported."""
    write_modules(tmp_path, monkeypatch)

    def find(name: str, module: str) -> Signature:
        if request.param == "read":
            found = find_signature(f"{module}.{name}")
            assert module not in sys.modules
        else:
            found = signature_of(getattr(importlib.import_module(module), name))
        assert found is not None
        return found

    return find


def problem_of(signature: Signature, arguments: dict[str, Any], **given: Any) -> str:
    try:
        check_arguments(Given("at", arguments, lambda _: "here", **given), signature)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("module", MODULES)
def test_what_is_in_range(door: Door, module: str) -> None:
    signature = door("Net", module)
    assert [problem_of(signature, arguments) for arguments in RIGHT] == [""] * len(RIGHT)


@pytest.mark.parametrize("module", MODULES)
def test_what_is_refused(door: Door, module: str) -> None:
    signature = door("Net", module)
    for arguments, line in WRONG:
        assert re.match(f".*{line}", problem_of(signature, arguments)), (arguments, problem_of(signature, arguments))


def test_both_doors_say_the_same_to_the_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_modules(tmp_path, monkeypatch)
    read = [find_signature(f"{module}.Net") for module in MODULES]
    imported = [signature_of(importlib.import_module(module).Net) for module in MODULES]
    for arguments, _ in WRONG:
        lines = {problem_of(signature, arguments) for signature in (*read, *imported) if signature is not None}
        assert len(lines) == 1, lines


@pytest.mark.parametrize("module", MODULES)
def test_which_arguments_there_have_to_be(door: Door, module: str) -> None:
    needing = door("needing", module)
    assert (list(needing.arguments), list(needing.by_position)) == (["depth", "height"], ["width", "depth"])
    whole = {"positional": 1, "is_whole": True}
    assert problem_of(needing, {"depth": 1}, **whole) == ""
    assert problem_of(needing, {"height": 1}, **whole) == "at: needing needs 'depth'"
    assert problem_of(needing, {"height": 1}) == ""  # what is missing may come from the data
    twice = "at.depth: needing gets 'depth' twice, by position and by name"
    assert problem_of(needing, {"depth": 1}, positional=2) == twice
    assert problem_of(needing, {"width": 1}).startswith("at.width: needing takes no argument 'width' (here)")


@pytest.mark.parametrize("module", MODULES)
def test_an_entry_function_takes_what_its_class_takes(door: Door, module: str) -> None:
    entry = door("entry", module)
    assert list(entry.arguments) == list(door("Net", module).arguments)
    assert problem_of(entry, {"width": 0}).startswith("at.width=0: should be greater than or equal to 1")
    assert problem_of(entry, {"heads": 3}) == ""  # it has defaults of its own: what width it takes is not told
    assert "must divide at.width=8" in problem_of(entry, {"heads": 3, "width": 8})


@pytest.mark.parametrize("module", MODULES)
def test_what_is_told_of_an_annotation(door: Door, module: str) -> None:
    arguments = door("Net", module).arguments
    told = {name: shown(found, look_up) for name, found in arguments.items() if found is not None}
    assert told["width"] == told["heads"] == "int"
    assert told["share"] == "float | None"
    assert told["sizes"] == "Sequence[int]"
    assert told["policy"] == "Literal['skip', 'error']"
    assert told["maybe"] == "bool | int"
    marks = arguments["heads"]
    assert marks is not None
    assert list(relations(marks, look_up)) == [("Divides", "width")]


def test_only_an_import_tells_that_any_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_modules(tmp_path, monkeypatch)
    assert find_signature("ranged_texts.taking_any") is None
    imported = signature_of(importlib.import_module("ranged_texts").taking_any)
    assert imported is not None
    assert problem_of(imported, {"anything": 1}) == ""
    assert problem_of(imported, {"width": 0}).startswith("at.width=0: should be greater")


def test_what_was_made_in_python_is_the_constructors_affair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_modules(tmp_path, monkeypatch)
    net = importlib.import_module("ranged_texts").Net
    check_call(net, {"width": object(), "sizes": [object()], "names": {"a": Path()}}, "net")
    with pytest.raises(ConfigError, match=r"^net\.width=0: should be greater than or equal to 1$"):
        check_call(net, {"width": 0}, "net")
    check_call(net, {"width": {"type": "x"}}, "net", target_key="type")
    with pytest.raises(ConfigError, match=r"net\.width=.*takes int"):
        check_call(net, {"width": {"type": "x"}}, "net")


DATA = sorted(
    {
        str(node["_target_"]).replace("${data.task}", "segmentation")
        for file in (config_dir() / "data").glob("*.yaml")
        if "_target_" in (node := yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    }
)


@pytest.mark.parametrize("target", [*list_models(), *DATA])
def test_a_shipped_target_is_told_alike_by_text_and_import(target: str) -> None:
    module, _, name = target.rpartition(".")
    path, thing = target, getattr(importlib.import_module(module), name) if module else model_entrypoint(target)
    if not module:
        path = f"{model_entry(target).module}.{target}"
    read, imported = find_signature(path), signature_of(thing)
    assert read is not None
    assert imported is not None
    assert list(read.arguments) == list(imported.arguments)
    assert (read.name, set(read.required)) == (imported.name, set(imported.required))
    assert list(read.by_position) == list(imported.by_position)
    for key, annotation in read.arguments.items():
        other = imported.arguments[key]
        assert annotation is not None
        assert other is not None
        assert shown(annotation, look_up) == shown(other, look_up)
