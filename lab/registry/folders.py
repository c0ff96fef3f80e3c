"""Models of a folder or of the Hub: ``config.json`` has architecture and arguments, a file beside it the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.errors import CheckpointError, ConfigError
from lab.registry.allowed import is_sealed
from lab.registry.names import listed, parse_model_name, split_model_name_tag
from lab.registry.pretrained import fetch_from_hub


def read_folder(source: str, identifier: str, with_weights: bool) -> tuple[str, dict[str, Any], Path | None]:
    """Return architecture, model arguments and file of weights of a local folder or a repository on the Hub."""
    folder = Path(identifier) if source == "local-dir" else fetch_from_hub(identifier, with_weights, is_sealed())
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise CheckpointError(f"'{source}:{identifier}': {config_file} is missing")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        architecture, arguments = str(config["architecture"]), dict(config.get("model_args") or {})
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{config_file}: expected a JSON object with 'architecture' and 'model_args'") from error
    files = [folder / f"model.{suffix}" for suffix in ("safetensors", "safetensors.index.json", "pth", "pt")]
    found = next((file for file in files if file.is_file()), None)
    if with_weights and found is None:
        raise CheckpointError(f"'{source}:{identifier}': neither {listed(file.name for file in files)} in {folder}")
    return split_model_name_tag(architecture)[0], arguments, found


def stand_alone(node: Any) -> Any:
    """Return a tree of nodes in which models of folders and of the Hub are replaced by architecture and arguments.

    Checkpoints hold this form, so that loading one reads no other folder.

    Raises:
        CheckpointError: such a folder cannot be read.
    """
    if isinstance(node, list | tuple) and not is_sealed():
        return [stand_alone(item) for item in node]
    if not isinstance(node, Mapping) or is_sealed():  # a checkpoint has this form already, or is refused later
        return node
    tree = {key: stand_alone(item) for key, item in node.items()}
    target = tree.get("_target_")
    if not isinstance(target, str) or not target.startswith(("local-dir:", "local_dir:", "hf-hub:", "hf_hub:")):
        return tree
    architecture, arguments, _ = read_folder(*parse_model_name(target), with_weights=False)
    return {**arguments, **tree, "_target_": architecture}
