"""Every template, for short and long names, in a project and in the checkout: ruff has nothing to say about it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lab.config.compose import groups, options
from lab.errors import ConfigError
from lab.scaffold.making import MAKERS, Made
from lab.scaffold.names import LONGEST
from lab.scaffold.rendering import kinds_of, reasons
from lab.scaffold.writing import write_new

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("a", "zz", "abcdefghi_klmnopqrst_vwx")
"""Names whose imports are sorted first and last, and one of 24 characters."""
WHAT = [(word, kind) for word in ("project", "model", "data") for kind in kinds_of(word)]


def check(*command: str, folder: Path) -> None:
    pytest.importorskip("ruff")
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout as far as ``lab new`` reads it."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "lab" / "scaffold").mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    return tmp_path


def make(word: str, kind: str | None, name: str, folder: Path) -> Made:
    made = MAKERS[word](name, kind, folder)
    write_new(made.root, made.files)
    return made


def make_all(folder: Path) -> None:
    """Make each kind of model and data, and a kind of problem, under names of all three forms."""
    for number, (word, kind) in enumerate([*(item for item in WHAT if item[0] != "project"), ("task", None)]):
        for name in NAMES:
            make(word, kind, f"{name[: LONGEST[word] - 2]}{number:02d}", folder)


def test_projects_are_as_ruff_wants_them(tmp_path: Path) -> None:
    for number, kind in enumerate(kinds_of("project")):
        for name in NAMES[1:]:
            made = make("project", kind, f"{name[: LONGEST['project'] - 2]}{50 + number}", tmp_path)
            if number == 0:
                make_all(made.root)
    check("ruff", "check", ".", folder=tmp_path)
    check("ruff", "format", "--check", "--diff", ".", folder=tmp_path)


def test_the_checkout_is_as_ruff_wants_it(checkout: Path) -> None:
    make_all(checkout)
    ours = "lint.isort.known-first-party = ['lab']"  # which ruff sees where all of lab is there
    check("ruff", "check", "--config", ours, ".", folder=checkout)
    check("ruff", "format", "--check", "--diff", ".", folder=checkout)


@pytest.mark.parametrize(("word", "kind"), [item for item in WHAT if item[0] != "project"])
def test_what_is_made_fits_together(checkout: Path, word: str, kind: str) -> None:
    made = make(word, kind, "owl", checkout)
    conf = yaml.safe_load(made.files[f"conf/{word}/owl.yaml"])
    target = conf["_target_"] if word == "data" else conf["model"]["net"]["_target_"]
    module, _, name = target.rpartition(".")
    tree = ast.parse(made.files[f"{module.replace('.', '/')}.py"])
    assert name in [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    kinds = conf["tasks"] if word == "data" else [conf["model"]["task"]]
    assert kinds == [kind]
    (tests,) = [path for path in made.files if path.startswith("tests/")]
    assert tests in made.next[0][0]
    for group in groups([checkout / "conf"]):
        assert options(group, [checkout / "conf"]) == ["owl"]
    if word == "data":
        assert f"model={fitting(made)} " in made.next[1][0]
        assert (ROOT / "conf" / "model" / f"{fitting(made)}.yaml").is_file()


def fitting(made: Made) -> str:
    """The model that the command shows for data."""
    return next(word.removeprefix("model=") for word in made.next[1][0].split() if word.startswith("model="))


@pytest.mark.parametrize("word", ["model", "data", "project"])
def test_a_kind_has_a_template_or_a_reason(checkout: Path, word: str) -> None:
    assert {*kinds_of(word), *reasons(word)} == {*kinds_of("data"), *reasons("data")}
    for kind, reason in reasons(word).items():
        with pytest.raises(ConfigError, match=f"lab new {word} --kind {kind}: ") as caught:
            MAKERS[word]("owl", kind, checkout)
        assert str(caught.value).endswith(reason)
        models = re.findall(r"model=(\w+)", reason)
        assert models
        assert all((ROOT / "conf" / "model" / f"{model}.yaml").is_file() for model in models)
        assert all((ROOT / folder).is_dir() for folder in re.findall(r"lab/models/\w+", reason))


def test_a_kind_of_the_checkout_has_its_parts_on_their_floors(checkout: Path) -> None:
    made = MAKERS["task"]("sorting", None, checkout)
    assert {"lab/structures/sorting.py", "lab/models/sorting_net/network.py", "lab/tasks/sorting/spec.py"} <= {
        *made.files
    }
    assert "register_task" not in made.files["lab/tasks/sorting/spec.py"]
    assert 'data="lab.structures.sorting:SortingSpec"' in made.files["lab/tasks/sorting/spec.py"]
    assert made.next[0][0] == "python -m pytest -q tests/unit/tasks/sorting/test_sorting.py"


def test_types_of_the_checkout_are_unique(checkout: Path) -> None:
    (checkout / "lab" / "other.py").write_text("class OwlModule:\n    pass\n")
    with pytest.raises(ConfigError, match=r"would define OwlModule, which lab/other\.py has"):
        MAKERS["data"]("owl", "classification", checkout)


def test_the_checkout_is_told_what_to_record(checkout: Path) -> None:
    made = MAKERS["model"]("owl", "classification", ROOT)
    assert made.next[-1][0] == "LAB_RECORD=1 python -m pytest -q tests/snapshots/test_config.py"
