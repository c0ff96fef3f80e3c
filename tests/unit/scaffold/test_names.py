from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.scaffold.names import check_name, class_name
from lab.scaffold.places import ProjectFolder


@pytest.fixture
def place(tmp_path: Path) -> ProjectFolder:
    """A project with a model, a module of data and an option of a kind."""
    for name in ("conf/model/owl.yaml", "conf/eval/sorting.yaml", "birds/data/nests.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return ProjectFolder(tmp_path, "birds")


@pytest.mark.parametrize(
    ("name", "reason", "better"),
    [
        ("My-Net", "a name has lower-case letters", "my_net"),
        ("HTTPNet2", "a name has lower-case letters", "httpnet2"),
        ("2net", "a name has lower-case letters", "net"),
        ("a__b", "a name has lower-case letters", "a_b"),
        ("é", "a name has lower-case letters", "new"),
        ("", "a name has lower-case letters", "new"),
        ("../owl", "a name has lower-case letters", "my_owl"),
        ("n" * 25, "at most 24", "n" * 17),
        ("class", "a keyword of Python", "my_class"),
        ("json", "a module of Python", "my_json"),
        ("data", "a module of lab", "my_data"),
        ("resnet18", "a model of lab's", "my_resnet18"),
        ("detr", "a model of lab's", "my_detr"),
        ("coco", "a dataset of lab's", "my_coco"),
        ("detection", "a kind of problem of lab's", "my_detection"),
        ("birds", "the name of the project", "my_birds"),
        ("owl", "there is a model of this name", "my_owl"),
        ("nests", "there is a module of this name", "my_nests"),
        ("sorting", "there is a kind of problem of this name", "my_sorting"),
    ],
)
def test_a_name_is_refused_with_the_closest_one(place: ProjectFolder, name: str, reason: str, better: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_name("model", name, place)
    assert reason in str(caught.value)
    assert str(caught.value).endswith(f"; try {better}")
    check_name("model", better, place)


def test_a_project_is_no_module_that_python_finds() -> None:
    check_name("project", "some_new_birds")
    with pytest.raises(ConfigError, match=r"a module of this name already; try my_numpy"):
        check_name("project", "numpy")


@pytest.mark.parametrize(("name", "title"), [("owl", "Owl"), ("my_net2", "MyNet2"), ("a_1b", "A1b")])
def test_names_of_classes(name: str, title: str) -> None:
    assert class_name(name) == title
