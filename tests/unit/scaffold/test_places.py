from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.scaffold.places import find_place

ROOT = Path(__file__).resolve().parents[3]


def write(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)


def test_a_project_is_found_from_below(tmp_path: Path) -> None:
    write(tmp_path, '[tool.lab]\npackage = "birds"\n')
    for name in ("birds/__init__.py", "birds/models/pyproject.toml"):  # the second is about something else
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    place = find_place(tmp_path / "birds" / "models")
    assert (place.root, place.package, place.is_lab) == (tmp_path, "birds", False)
    assert place.command == "lab --config-dir conf extensions=[birds]"
    assert place.folders("model", "owl", "x") == {"room": "birds/models/owl", "conf": "conf", "tests": "tests/models"}
    assert place.folders("data", "owl", "x")["room"] == "birds/data"
    assert place.folders("task", "sorting", "sorting")["types"] == "birds/tasks/sorting"
    assert place.types_file("sorting") == "structures.py"


def test_the_checkout_is_found() -> None:
    place = find_place(ROOT / "lab" / "models")
    assert (place.root, place.is_lab, place.command) == (ROOT, True, "python run.py")
    assert place.folders("data", "owl", "x") == {
        "room": "lab/tasks/x/data",
        "conf": "conf",
        "tests": "tests/unit/tasks/x/data",
    }
    parts = place.folders("task", "sorting", "sorting")
    assert (parts["types"], parts["net"]) == ("lab/structures", "lab/models/sorting_net")
    assert place.types_file("sorting") == "sorting.py"


def test_another_project_of_the_name_is_not_the_checkout(tmp_path: Path) -> None:
    write(tmp_path, '[project]\nname = "lab"\n')
    with pytest.raises(ConfigError, match="is not inside a project: make one with `lab new project NAME`"):
        find_place(tmp_path)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[tool.lab\n", r"pyproject\.toml: "),
        ("[tool.lab]\n", "names the package"),
        ("[tool]\nlab = 3\n", "names the package"),
        ('[tool.lab]\npackage = "../x"\n', "names the package"),
        ('[tool.lab]\npackage = "birds"\n', "there is no birds/__init__.py"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, part: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError, match=part):
        find_place(tmp_path)
