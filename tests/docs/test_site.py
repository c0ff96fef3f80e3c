"""What docs/conf.py makes of the texts; ``.ci/run`` builds the whole site strictly."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.documents import ROOT

pytest.importorskip("sphinx", reason="sphinx is one of the extras docs")

TEXT = """# A

[no](no.md)

<!-- contents -->

## First

- [one of them](one.md), [two](../two.md#part), [nuThree](../three.md)

## Second

- [one again](one.md), [elsewhere](https://a.b/c.md)
"""


@pytest.fixture(scope="module")
def conf() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_conf", ROOT / "docs" / "conf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tree_is_made_of_the_links(conf: ModuleType) -> None:
    source = [TEXT]
    conf.add_contents(None, "docs/a", source)
    tree = "\n```{toctree}\n:hidden:\n:caption: First\n\nOne of them <one>\nnuThree <../three>\n```\n"
    assert source[0].startswith(TEXT)
    assert source[0].removeprefix(TEXT).strip() == tree.strip()


def test_pages_without_a_link_are_added(conf: ModuleType) -> None:
    source = ["<!-- contents: ../lab/models/*/README -->\n\n## A\n\n[detr](../lab/models/detr/README.md)\n"]
    conf.add_contents(None, "docs/a", source)
    rooms = list((ROOT / "lab" / "models").glob("*/README.md"))
    assert source[0].count("/README>\n") == 1
    assert source[0].count("/README\n") == len(rooms) - 1


def test_modules_of_a_package_have_their_directives(conf: ModuleType) -> None:
    source = ["<!-- modules: lab.structures -->"]
    conf.add_contents(None, "docs/a", source)
    for path in Path(ROOT / "lab" / "structures").glob("[a-z]*.py"):
        assert f"## {path.stem}\n\n```{{eval-rst}}\n.. automodule:: lab.structures.{path.stem}\n```\n" in source[0]
