"""Ranges in annotations, read from source texts; every number of a shipped target has one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.annotations import options_class, problems, relations, shown
from lab.config.compose import config_dir
from lab.config.signatures import Signature, _fields, check_arguments, find_signature, look_up
from lab.errors import ConfigError
from lab.registry.models import is_model, model_entry
from lab.training.spec import task_names, task_spec

SOURCE = """
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

from torch import Tensor

from lab.ranges import AtMost, Below, Divides, Ge, Gt, Le, MinLen, OneOf, Options
from lab.ranges import Size as Width
from ranged.other import Policy

raise RuntimeError("imported")

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
"""
OTHER = 'from typing import Literal\nPolicy = Literal["skip", "error"]\n'


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Signature:
    (tmp_path / "ranged").mkdir()
    (tmp_path / "ranged" / "__init__.py").write_text("")
    (tmp_path / "ranged" / "net.py").write_text(SOURCE)
    (tmp_path / "ranged" / "other.py").write_text(OTHER)
    monkeypatch.syspath_prepend(tmp_path)
    signature = find_signature("ranged.net.Net")
    assert signature is not None
    return signature


RIGHT: list[dict[str, Any]] = [
    {"width": 1, "heads": 1, "share": 1, "sizes": [3, 4], "pair": [2, 0.5], "policy": "error", "word": "b"},
    {"share": None, "old": None, "tensor": "anything", "maybe": True, "options": None},
    {"maybe": 3, "old": 7, "options": {"flip": 1.0, "sides": [5]}, "low": 3, "high": 3, "below": 2.9},
    {"width": 6, "heads": 3, "names": {"a": "b", "c": None}},
    {"heads": 4},  # divides the default
    {"width": {"_target_": "x"}},
]
WRONG: list[tuple[dict[str, Any], str]] = [
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


@pytest.mark.parametrize("arguments", RIGHT, ids=str)
def test_what_is_in_range(net: Signature, arguments: dict[str, Any]) -> None:
    check_arguments("at", arguments, net, lambda _: "here")


@pytest.mark.parametrize(("arguments", "line"), WRONG, ids=str)
def test_what_is_out_of_range(net: Signature, arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        check_arguments("at", arguments, net, lambda _: "here")


def test_an_entry_function_has_defaults_of_its_own(net: Signature) -> None:
    entry = find_signature("ranged.net.entry")
    assert entry is not None
    check_arguments("at", {"heads": 3}, entry, lambda _: "here")  # what width it takes is not told
    with pytest.raises(ConfigError, match="must divide"):
        check_arguments("at", {"heads": 3, "width": 8}, entry, lambda _: "here")


def test_what_is_told_of_an_annotation(net: Signature) -> None:
    told = {name: shown(found, look_up) for name, found in net.arguments.items() if found is not None}
    assert told["width"] == told["heads"] == "int"
    assert told["share"] == "float | None"
    assert told["sizes"] == "Sequence[int]"
    assert told["policy"] == "Literal['skip', 'error']"
    marks = net.arguments["heads"]
    assert marks is not None
    assert list(relations(marks, look_up)) == [("Divides", "width")]


def _targets() -> list[str]:
    files = [*(config_dir() / "model").glob("*.yaml"), *(config_dir() / "data").glob("*.yaml")]
    nodes = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    found = {node.get("_target_") or node.get("model", {}).get("net", {}).get("_target_") for node in nodes}
    return sorted(target.replace("${data.task}", "detection") for target in found if target)


@pytest.mark.parametrize("target", _targets())
def test_every_number_of_a_shipped_target_has_a_range(target: str) -> None:
    path = f"{model_entry(target).module}.{target}" if is_model(target) else target
    signature = find_signature(path)
    assert signature is not None
    open_ended = []
    from_data = {name for kind in task_names() for name in task_spec(kind).load_settings().from_data}
    for name, annotation in signature.arguments.items():
        assert annotation is not None
        options = options_class(annotation, look_up)
        inside = _fields(*options).arguments if options is not None else {}
        for each, found in {name: annotation, **inside}.items():
            assert found is not None
            is_number = not problems(found, 8, look_up) and problems(found, "text", look_up)
            if is_number and each not in from_data and not problems(found, -(10**30), look_up):
                open_ended.append(each)
    assert open_ended == []


def test_reading_ranges_imports_nothing() -> None:
    code = "import sys, lab.ranges, lab.config.signatures; print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
