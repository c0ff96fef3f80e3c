"""Registrations of models are read from source texts, under whatever name the decorator goes; nothing is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.config.compose import compose_config
from lab.errors import LabError
from lab.launch.targets import check_targets
from lab.registry.decorated import registered_in
from lab.registry.models import list_models

STOP = "raise SystemExit('imported')\n"
FILES = {
    "__init__.py": STOP,
    "plain.py": "from lab.registry import register_model\n\n@register_model\ndef plain(): ...\n",
    "renamed.py": "from lab.registry.models import register_model as rm\n@rm\ndef renamed(): ...\n",
    "called.py": (
        "from functools import cache\nimport lab.registry as names\n"
        "@names.register_model(classifier=('fc', 'aux'), pretrained={'one': 'https://example.com/w-01234567.pth'})\n"
        "@cache\ndef called(): ...\n"
    ),
    "whole_path.py": "import lab.registry.models\n@lab.registry.models.register_model\nclass WholePath: ...\n",
    "of_package.py": "from lab import registry\nif True:\n    @registry.register_model()\n    def of_package(): ...\n",
    "below.py": (
        "from lab.registry import register_model\ndef below(): ...\ndef with_options(): ...\n"
        "register_model(below)\nregister_model(classifier='fc')(with_options)\n"
    ),
    "own_name.py": "from .deeper.names import theirs\n@theirs\ndef through_their_module(): ...\n",
    "deeper/names.py": "from lab.registry import register_model\ntheirs = register_model\n",
    "deeper/still/net.py": (
        "from lab.registry import register_model\nURL = 'x'\n"
        "@register_model(converter=URL, classifier='fc')\ndef deep(): ...\n"
    ),
    "not_ours.py": (
        "from lab.registry import register\nfrom elsewhere import register_model\n"
        "@register_model\ndef of_another_library(): ...\n@register\ndef no_model(): ...\n"
        "def register_model_by_hand(): ...\n@register_model_by_hand\ndef by_hand(): ...\n"
        "class Net:\n    @register_model\n    def method(self): ...\n"
    ),
    "not-importable.py": "from lab.registry import register_model\n@register_model\ndef unreachable(): ...\n",
    "with_mark.py": "\ufefffrom lab.registry import register_model\n@register_model\ndef with_byte_order_mark(): ...\n",
}
NAMES = {
    "plain",
    "renamed",
    "called",
    "WholePath",
    "of_package",
    "below",
    "with_options",
    "through_their_module",
    "deep",
    "with_byte_order_mark",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "registering"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_the_decorator_is_known_by_any_name(package: Path) -> None:
    reading = registered_in("registering")
    found = {each.name: each for each in reading.found}
    assert (set(found), reading.mistakes) == (NAMES, ())
    assert (found["deep"].module, found["deep"].line) == ("registering.deeper.still.net", 3)
    assert found["called"].options["classifier"] == ("fc", "aux")
    assert found["called"].line == 3  # of its first decorator, as Python counts
    assert (found["deep"].options, found["deep"].unread) == ({"classifier": "fc"}, ("converter",))
    assert found["with_options"].options == {"classifier": "fc"}
    assert "registering" not in sys.modules


def test_a_module_and_a_folder_without_init_are_read_too(package: Path) -> None:
    assert [each.name for each in registered_in("registering.renamed").found] == ["renamed"]
    (package / "__init__.py").unlink()
    assert {each.name for each in registered_in("registering").found} == NAMES
    assert registered_in("no_such_package").found == ()


def test_files_that_are_no_python_are_named(package: Path) -> None:
    (package / "broken.py").write_text("from lab.registry import register_model\n@register_model\ndef broken(:\n")
    (package / "zeros.py").write_bytes(b"register_model\0")
    (package / "latin.py").write_bytes(b"register_model = 'caf\xe9'\n")
    reading = registered_in("registering")
    assert {each.name for each in reading.found} == NAMES
    assert [line.removeprefix(f"{package}/").partition(":")[0] for line in reading.mistakes] == [
        "broken.py",
        "latin.py",
        "zeros.py",
    ]
    assert reading.mistakes[0].startswith(f"{package}/broken.py:3: ")


def refusal(*words: str, target: str, pretrained: str | None = None) -> str:
    composed = compose_config(["model=detr_tiny", "extensions=[registering]", *words])
    composed.config["model"]["net"] = {"_target_": target}
    composed.config["model"]["pretrained"] = pretrained
    with pytest.raises(LabError) as caught:
        check_targets(composed)
    return str(caught.value)


def test_what_the_command_line_says_of_them(package: Path) -> None:
    assert refusal(target="called.two") == "model.net._target_=called.two: called has no weights 'two'"
    line = refusal(target="called", pretrained="onne")
    assert line == "model.pretrained=onne: neither a file nor weights of called; did you mean 'one'?"
    assert refusal(target="plain", pretrained="one").endswith("neither a file nor weights of plain; there are none")
    (package / "broken.py").write_text("from lab.registry import register_model\n@register_model\ndef broken(:\n")
    line = refusal(target="broken")
    assert line.startswith("model.net._target_=broken: unknown model 'broken', and an extension cannot be read: ")
    assert f"{package}/broken.py:3: " in line


def test_a_package_that_cannot_be_imported_is_refused(package: Path) -> None:
    (package / "__init__.py").write_text("import os\nthis is no Python\n")
    assert refusal(target="plain").startswith(f"extensions: registering cannot be imported: {package}/__init__.py:2: ")


def test_labs_own_rooms_are_read_by_the_same_function() -> None:
    reading = registered_in("lab.models")
    assert sorted(each.name for each in reading.found) == sorted(name for name in list_models())
    assert not [each for each in reading.found if each.unread]


def test_reading_them_needs_no_torch() -> None:
    code = "import sys; from lab.registry.decorated import registered_in as r; r('lab.models')\n"
    code += "print({'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
