"""What a package registers is known while it is asked for, though Python imports it only once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.registry.allowed import allow_package, allowed_packages
from lab.registry.models import is_model, model_entrypoint
from lab.system.registrations import import_package, temporary
from lab.training.spec import task_names

SOURCE = """
from lab.registry.models import register_model
from lab.training.spec import TaskSpec, register_task
import lab.models.conv_stem.variants

@register_model
def net_of_{name}():
    return None

register_task({spec})
"""


@pytest.mark.parametrize("again", [1, 2])
def test_a_package_is_known_while_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: int) -> None:
    name = f"asked_{again}"
    (tmp_path / f"{name}.py").write_text(SOURCE.format(name=name, spec=spec(name)))
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(again + 1):
        with temporary():
            import_package(name)
            allow_package(name)
            assert is_model(f"net_of_{name}")
            assert name in task_names()
            assert name in allowed_packages()
        assert not is_model(f"net_of_{name}")
        assert name not in task_names()
        assert name not in allowed_packages()
    assert model_entrypoint("conv_stem")  # what it has imported of lab stays known


def spec(name: str) -> str:
    return f'TaskSpec("{name}", "{name}:Task", "a.b:Spec", "a.b:SETTINGS")'


def test_what_the_caller_has_imported_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_alone.py").write_text(SOURCE.format(name="mine_alone", spec=spec("mine_alone")))
    monkeypatch.syspath_prepend(tmp_path)
    with temporary():  # what stands for the caller's process here, so that other tests do not know the package
        import_package("mine_alone")
        with temporary():
            import_package("mine_alone")
        assert is_model("net_of_mine_alone")
