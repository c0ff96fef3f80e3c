"""A kind of problem of an extension is found in its source text; of its modules only the settings are executed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.config.compose import Composed, compose_config
from lab.errors import ConfigError
from lab.launch.kinds import specs_in
from lab.launch.targets import check_all
from lab.training.spec import TaskSpec

SPEC = """
from lab.training.spec import TaskSpec, register_task

TASK = register_task(
    TaskSpec(
        name="counting",
        task="counting_pkg.task:CountingTask",
        data="counting_pkg.task:CountingSpec",
        settings="counting_pkg.settings:SETTINGS",
    )
)
"""
SETTINGS = """
from __future__ import annotations

from typing import Literal

from lab.config.kinds import Asks, EvalSettings, TaskSettings
from lab.config.value_types import WholeAbove0


class CountingEval(EvalSettings):
    name: Literal["counting"]
    bins: WholeAbove0


class CountingAsks(Asks):
    width: WholeAbove0 | None = None


def conflict(config):
    if config["trainer"]["precision"] == "64":
        return "trainer.precision", "counts are whole numbers"
    return None


SETTINGS = TaskSettings(CountingEval, CountingAsks, ("num_bins",), conflict)
"""
NETWORK = """
from torch import nn


class Net(nn.Module):
    def __init__(self, num_bins: int, depth: int = 1) -> None:
        super().__init__()


class Data(DataModule):
    def __init__(self, batch_size: int = 4, width: int = 3) -> None:
        super().__init__(batch_size)
"""
MODEL = """
# @package _global_
defaults:
  - override /data: dots
  - override /eval: counting

model:
  task: counting
  pretrained: null
  asks:
    width: 7
  net:
    _target_: counting_pkg.network.Net
trainer:
  max_steps: 3
"""
DATA = """
_target_: counting_pkg.network.Data
tasks: [counting]
batch_size: 4
width: ${oc.select:model.asks.width,3}
"""
YAMLS = {"eval/counting": "name: counting\nbins: 4\n", "model/counter": MODEL, "data/dots": DATA}

Check = Callable[..., Composed]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "counting_pkg"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('this package was imported')")
    (folder / "spec.py").write_text(SPEC)
    (folder / "settings.py").write_text(SETTINGS)
    (folder / "network.py").write_text("from lab.data.datamodule import DataModule\n" + NETWORK)
    for name, content in YAMLS.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / f"{name}.yaml").write_text(content.lstrip())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


@pytest.fixture
def check(package: Path) -> Check:
    def checked(*words: str, extension: str = "extensions=[counting_pkg]") -> Composed:
        composed = compose_config(["model=counter", extension, *words], [str(package.parent / "mine")])
        check_all(composed, machine=False)
        return composed

    return checked


def test_it_is_checked_without_being_imported(check: Check) -> None:
    config = check("eval.bins=8").config
    assert config["eval"] == {"name": "counting", "bins": 8}
    assert (config["model"]["asks"], config["data"]["width"]) == ({"width": 7}, 7)
    assert check("model.asks.width=9").config["data"]["width"] == 9
    assert not [name for name in sys.modules if name.startswith("counting_pkg")]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("eval.bins=0", "eval.bins=0: should be greater than 0 (set on the command line: eval.bins=0)"),
        ("eval.bin=3", "eval.bin=3: unknown key 'bin' in eval"),
        ("model.asks.height=3", "model.asks.height: unknown key 'height' in model.asks (set on the command line"),
        ("model.net.num_bins=3", "model.net.num_bins: the data says how many bins there are; leave it out"),
        ("eval=detection", "a model for counting is measured by eval=counting"),
        ("data=shapes", "model=counter needs data for counting, data=shapes gives detection, segmentation"),
        ("trainer.precision=64", "trainer.precision=64 (set on the command line: trainer.precision=64): counts are"),
        ("model.task=countin", "there is no such kind of problem; did you mean 'counting'"),
    ],
)
def test_its_mistakes_are_one_line(words: str, line: str, check: Check) -> None:
    with pytest.raises(ConfigError) as caught:
        check(words)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_kind_of_a_package_that_is_not_named(check: Check) -> None:
    with pytest.raises(ConfigError, match=r"model\.task=counting .*no such kind of problem.*extensions=\[PACKAGE\]"):
        check(extension="extensions=[]")


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("spec.py", SPEC.replace('"counting"', "NAME"), "spec.py, line 5: TaskSpec takes name, task, data, settings"),
        ("settings.py", "import no_such_module", "counting_pkg.settings cannot be imported: No module named"),
        ("settings.py", "SETTINGS = 3", "counting_pkg.settings:SETTINGS is not a TaskSettings"),
        ("spec.py", SPEC.replace("pkg.settings", "pkg.nowhere"), "names counting_pkg.nowhere:SETTINGS, which does not"),
    ],
)
def test_what_cannot_be_read(file: str, content: str, line: str, package: Path, check: Check) -> None:
    (package / file).write_text(content)
    with pytest.raises(ConfigError) as caught:
        check()
    assert line in str(caught.value)


TEXTS = "'counting', 'counting_kind.task:Task', 'counting_kind.data:Spec', 'counting_kind.settings:SETTINGS'"


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    for name, text in files.items():
        path = folder / "counting_kind" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.parametrize(
    "text",
    [
        f"from lab.training.spec import TaskSpec\nTASK = TaskSpec({TEXTS})\n",
        f"from lab.training.spec import TaskSpec as Kind, register_task\nregister_task(Kind({TEXTS}))\n",
        f"from lab.training import spec\nspec.register_task(spec.TaskSpec({TEXTS}))\n",
    ],
)
def test_a_kind_is_found(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_others = "class TaskSpec: ...\nOTHER = TaskSpec()\n"
    write(tmp_path, monkeypatch, __init__="raise SystemExit('imported')\n", kind=text, others=of_others)
    (spec,) = specs_in("counting_kind")
    assert isinstance(spec, TaskSpec)
    assert spec.name == "counting"
    assert "counting_kind" not in sys.modules


def test_arguments_are_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from lab.training.spec import TaskSpec\nNAME = 'counting'\nTASK = TaskSpec(NAME, 'a:b', 'c:d', 'e:f')\n"
    write(tmp_path, monkeypatch, __init__="", kind=text)
    with pytest.raises(ConfigError, match=r"kind\.py, line 3: TaskSpec takes name, task, .*each written out as a text"):
        list(specs_in("counting_kind"))
