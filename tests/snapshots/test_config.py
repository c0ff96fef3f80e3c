"""The keys that a user can type, with their defaults, and what became of those that are gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.cli.main import FLAGS
from lab.config.compose import Composed, compose_config, config_dir
from lab.config.signatures import find_signature
from lab.registry.models import is_model, model_entry
from lab.training.spec import task_names, task_spec
from tests.recorded import compare, vanished
from tests.shipped import OPTIONS, SWEEP_OPTIONS, composed

ROOT = Path(__file__).resolve().parents[2]
CHOICES = ("data", "optimizer", "scheduler", "callbacks", "eval", "trainer")
"""Groups of which a model or a recipe chooses an option."""


def leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each dotted key below a node, with its value."""
    if isinstance(node, Mapping) and node:
        for key in sorted(node):
            yield from leaves(node[key], f"{path}.{key}")
    else:
        yield path, node


def lines_of(node: Any, path: str) -> list[str]:
    return [f"{key} = {shown(value)}" for key, value in leaves(node, path)]


def shown(value: Any) -> str:
    """Return a value on one line that is not too long to read: of a long list how many items it has."""
    if isinstance(value, list) and len(value) > 10:
        return f"a list of {len(value)}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."


def other_arguments(node: Mapping[str, Any], path: str) -> list[str]:
    """Return the arguments of a target that its YAML leaves to the constructor."""
    target = node["_target_"]
    name = f"{model_entry(target).module}.{target}" if is_model(target) else target
    signature = find_signature(name)
    assert signature is not None, name
    of_data = {name for kind in task_names() for name in task_spec(kind).load_settings().from_data}
    taken = sorted(set(signature.arguments) - set(node) - of_data)
    return [f"{path}.{key} = as the constructor has it" for key in taken]


def section(option: str, default: Composed) -> list[str]:
    """Return the keys of an option of a group; of a model or a recipe also what it chooses and changes."""
    group = option.partition("=")[0]
    found = composed(option)
    lines = ["", f"# {option}"]
    if group in ("model", "experiments"):
        chosen = [other for other in CHOICES if found.choices[other] != default.choices[other]]
        lines += [f"# {other}={found.choices[other]}" for other in chosen]
        changed, of_default = (dict(leaves(each.config["trainer"], "trainer")) for each in (found, default))
        lines += [f"{key} = {shown(value)}" for key, value in sorted(changed.items()) if value != of_default.get(key)]
    if group == "experiments":
        return [*lines, *lines_of(found.config["expected"], "expected")]
    lines += lines_of(found.config[group], group)
    if group == "model":
        lines += other_arguments(found.config["model"]["net"], "model.net")
    if group == "data":
        lines += other_arguments(found.config["data"], "data")
    return lines


def test_keys_and_defaults_are_those_recorded() -> None:
    default = composed("")
    groups = {path.name for path in config_dir().iterdir() if path.is_dir()}
    own = [line for key in default.config if key not in groups for line in lines_of(default.config[key], key)]
    lines = ["# flags", *FLAGS, "", "# config.yaml", *own]
    for option in OPTIONS:
        lines += section(option, default)
    for option in SWEEP_OPTIONS:
        group = option.partition("=")[0]
        lines += ["", f"# {option}", *lines_of(compose_config([option], root="sweep").config[group], group)]
    compare("config.txt", lines, "tests/snapshots/test_config.py")


def test_upgrading_says_what_became_of_every_name_that_is_gone() -> None:
    text = (ROOT / "UPGRADING.md").read_text(encoding="utf-8")
    unsaid = [name for name in vanished() if f"`{name.rpartition(':')[2]}`" not in text]
    assert unsaid == [], f"UPGRADING.md must say what to write in place of {', '.join(unsaid)} (each in backticks)"
