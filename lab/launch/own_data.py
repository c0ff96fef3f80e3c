"""Describes a DataModule object of a Python caller in the config, so that the run's name depends on it.

    data:
      _target_: their_module.TheirData  # its class; it is never built from this description
      name: TheirData
      tasks: [detection]
      batch_size: 8
      num_workers: 0
      seed: 0
      arguments: {image_size: 64}  # its plain public attributes: numbers, strings, paths, lists of these
      fingerprint: 3f1c...  # of its content

So an object with the same content and attributes continues the run, and one with other content begins a new run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lab.config.words import parse_word
from lab.errors import ConfigError

if TYPE_CHECKING:
    from lab.config.compose import Composed

_KEYS = ("batch_size", "num_workers", "seed")


def take_own_data(composed: Composed, data: Any) -> None:
    """Replace the config's ``data`` by a description of the caller's DataModule object.

    Raises:
        ConfigError: the object is no DataModule, or overrides set keys of ``data`` too.
    """
    from lab.data.datamodule import DataModule

    name = type(data).__name__
    if not isinstance(data, DataModule):
        raise ConfigError(f"data is a {name}: give the name of a dataset, or a lab.data.datamodule.DataModule")
    for word in map(parse_word, composed.overrides):
        if word.key.partition(".")[0] == "data":
            raise ConfigError(f"{word.text}: data is an object of your own, {name}: set this on the object")
    composed.config["data"], composed.own_data = describe(data), True


def identify_own_data(composed: Composed, data: Any, count: int) -> None:
    """Add the fingerprint of the object's content to its description, after the config was checked.

    Args:
        composed: the config.
        data: the object.
        count: the number of processes of the job.

    Raises:
        ConfigError: there are several processes; the object exists only in the caller's.
    """
    if count > 1:
        name = composed.config["data"]["name"]
        raise ConfigError(
            f"trainer.devices={composed.config['trainer']['devices']} ({composed.origin('trainer.devices')}): worker "
            f"processes cannot receive an object, data={name}(...); set trainer.devices=1, or name its class in a "
            "YAML of a folder data/ (docs/your-own-package.md)"
        )
    composed.config["data"]["fingerprint"] = data.fingerprint()


def describe(data: Any) -> dict[str, Any]:
    """Return the config node ``data`` of a DataModule, without the fingerprint of its content."""
    from lightning.pytorch import LightningDataModule  # already imported, because the object is one

    kind = type(data)
    known = {*vars(LightningDataModule()), *_KEYS}
    plain = {key: _plain(value) for key, value in vars(data).items() if key not in known and not key.startswith("_")}
    return {
        "_target_": f"{kind.__module__}.{kind.__qualname__}",
        "name": kind.__name__,
        "tasks": [data.task],
        **{key: getattr(data, key) for key in _KEYS},
        "arguments": {key: value for key, value in plain.items() if value is not _OTHER},
    }


_OTHER = object()


def _plain(value: Any) -> Any:
    """Return a value as plain YAML data; ``_OTHER`` if it is not plain."""
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return _OTHER if any(item is _OTHER for item in items) else items
    if isinstance(value, Mapping):
        entries = {str(key): _plain(item) for key, item in value.items()}
        return _OTHER if any(item is _OTHER for item in entries.values()) else entries
    return _OTHER
