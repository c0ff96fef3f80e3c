"""A DataModule that a caller of Python hands in, as the config describes it: what it is stands in the run's name.

    data:
      _target_: their_module.TheirData  # the class, which nobody builds from here
      name: TheirData
      tasks: [detection]
      batch_size: 8
      num_workers: 0
      seed: 0
      arguments: {image_size: 64}  # its public attributes that are plain: numbers, texts, paths, lists of them
      fingerprint: 3f1c...  # of its content

So another object of the same content and attributes continues the run, and one of another content begins a new one.
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
    """Describe a DataModule of the caller's own in the place of the config's ``data``.

    Raises:
        ConfigError: it is none of lab's, or words set keys of ``data`` beside it.
    """
    from lab.data.datamodule import DataModule

    name = type(data).__name__
    if not isinstance(data, DataModule):
        raise ConfigError(f"data is a {name}: give the name of a dataset, or a lab.data.datamodule.DataModule")
    for word in map(parse_word, composed.overrides):
        if word.key.partition(".")[0] == "data":
            raise ConfigError(f"{word.text}: data is an object of your own, {name}: set it there")
    composed.config["data"], composed.own_data = describe(data), True


def identify_own_data(composed: Composed, data: Any, count: int) -> None:
    """Add the fingerprint of its content to the description, once the config is known to be sound.

    Args:
        composed: the config.
        data: the object.
        count: processes of the job.

    Raises:
        ConfigError: they are several: an object lives in the caller's.
    """
    if count > 1:
        name = composed.config["data"]["name"]
        raise ConfigError(
            f"trainer.devices={composed.config['trainer']['devices']} ({composed.origin('trainer.devices')}): worker "
            f"processes cannot be handed an object, data={name}(...); set trainer.devices=1, or name its class in a "
            "YAML of a folder data/ (docs/your-own-package.md)"
        )
    composed.config["data"]["fingerprint"] = data.fingerprint()


def describe(data: Any) -> dict[str, Any]:
    """Return the node ``data`` of a DataModule, without the fingerprint of its content."""
    from lightning.pytorch import LightningDataModule  # the object is one: it is imported already

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
    """Return a value as YAML has it; ``_OTHER`` where it is none."""
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
