"""Ranges in annotations, read from source texts; every number of a shipped target has one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from lab.config.annotations import options_class, problems
from lab.config.compose import config_dir
from lab.config.fields import fields_of
from lab.config.signatures import find_signature
from lab.config.sources import look_up
from lab.registry.models import is_model, model_entry
from lab.training.spec import task_names, task_spec


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
        inside = fields_of(*options).arguments if options is not None else {}
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
