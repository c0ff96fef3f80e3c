"""Settles what a config leaves to pretrained weights: which ones, and what they need of their images. No torch.

``model.pretrained`` is a file, a tag of the model's name, or true for its first tag. Each tag carries the preprocessing
of its weights (``lab.registry.preprocessing``); ``data.preprocessing`` says whose is taken:

- ``model``: that of the weights; the default where weights are given. Of a file it is that of the tag whose file has
  this name, else that of the first tag.
- a tag: that of this tag, for a file of weights.
- ``data``: the dataset's own.

It becomes arguments of the dataset (``data.image_size``, ``data.mean``), as far as the dataset takes them. Those that
the command line, a recipe or the model's YAML sets win. What was taken is printed when the job begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.config.compose import Composed
from lab.config.defaults import option_files
from lab.config.group_files import shorten
from lab.config.signatures import find_signature
from lab.errors import ConfigError, RegistryError, closest
from lab.registry import models as registry
from lab.registry.decorated import Registration, registered_in
from lab.registry.names import WEIGHT_FILES, split_model_name_tag
from lab.registry.preprocessing import KEYS, Preprocessing
from lab.registry.pretrained import WeightsSource
from lab.system.files import is_there

MODEL, DATA = "model", "data"
"""The words of ``data.preprocessing`` that are no tags."""
Tags = Mapping[str, WeightsSource]


def theirs(extensions: list[str]) -> tuple[dict[str, Registration], list[str]]:
    """Return the models that the extensions register, and errors of files that cannot be read."""
    readings = [registered_in(package) for package in extensions]
    mistakes = [mistake for reading in readings for mistake in reading.mistakes]
    return {each.name: each for reading in readings for each in reading.found}, mistakes


def settle_weights(composed: Composed) -> None:
    """Check the name of pretrained weights, replace true by a tag, and take over the preprocessing of the weights.

    Args:
        composed: a checked config whose model exists; ``model.pretrained``, arguments of ``data`` and ``notes`` change.

    Raises:
        ConfigError: a file does not exist, there is no preprocessing to take, or two things contradict each other.
        RegistryError: a tag is unknown.
    """
    model = composed.config["model"]
    target = str(model["net"]["_target_"])
    tags = _tags_of(target, composed.config["extensions"])
    if model.get("pretrained") is True:
        model["pretrained"] = _first(target, tags, f"model.pretrained=true ({composed.origin('model.pretrained')})")
    _check_pretrained(model.get("pretrained"), target, tags)
    if not composed.own_data:
        _settle_preprocessing(composed, target, tags or {})


def _tags_of(target: str, extensions: list[str]) -> Tags | None:
    """Return the tags of a model's name; None if only an import could tell. A class has none."""
    base = split_model_name_tag(target)[0]
    if registry.is_model(target):
        return registry.model_entry(target).pretrained
    found = theirs(extensions)[0].get(base)
    if found is None:
        return {} if "." in target else None
    if "pretrained" in found.unread:
        return None
    given = found.options.get("pretrained") or {}
    return {tag: WeightsSource.parse(source, f"{base}.{tag}") for tag, source in given.items()}


def _first(target: str, tags: Tags | None, where: str) -> str:
    tag = split_model_name_tag(target)[1] if tags else ""
    if not tags:
        problem = "the tags of {} are not known before it is imported" if tags is None else "{} has no tags of weights"
        raise ConfigError(f"{where}: {problem.format(target)}; name a file: model.pretrained=FILE")
    return tag or next(iter(tags))


def _check_pretrained(pretrained: str | None, target: str, tags: Tags | None) -> None:
    if pretrained is None or is_there(pretrained) or is_there(f"{pretrained}.index"):  # the prefix of TensorFlow
        return
    if Path(pretrained).suffix in WEIGHT_FILES:
        raise ConfigError(f"model.pretrained={pretrained}: no such file")
    if tags is None or pretrained in tags:
        return
    if not tags and not registry.is_model(target) and "." in target:
        raise ConfigError(f"model.pretrained={pretrained}: no such file, and {target} has no tags of weights")
    known = closest(pretrained, tags) or (f"; there are {', '.join(tags)}" if tags else "; there are none")
    raise RegistryError(f"model.pretrained={pretrained}: neither a file nor weights of {target}{known}")


def _settle_preprocessing(composed: Composed, target: str, tags: Tags) -> None:
    data, pretrained = composed.config["data"], composed.config["model"].get("pretrained")
    asked = data.get("preprocessing")
    if asked == DATA or (asked is None and pretrained is None):
        return
    taken = _arguments(data["_target_"])
    where = f"data.preprocessing={asked} ({composed.origin('data.preprocessing')})"
    if "mean" not in taken:
        if asked is not None:
            raise ConfigError(f"{where}: data={data['name']} prepares its images itself; leave data.preprocessing out")
        return
    tag, why = _choose(asked, pretrained, target, tags, where)
    needs = tags[tag].preprocessing if tag is not None else None
    name = split_model_name_tag(target)[0]
    if needs is None:
        if asked is not None:
            raise ConfigError(f"{where}: {name} has no tag with a preprocessing; use data.preprocessing=data")
        composed.notes.append(f"preprocessing: that of data={data['name']}: {name} has no tag that says another")
        return
    composed.notes.append(f"preprocessing: that of {name}.{tag}{why}: {_take(composed, needs, taken)}")
    data["preprocessing"] = tag


def _arguments(target: str) -> list[str]:
    """Return the parts of a preprocessing that a dataset's class takes."""
    try:
        signature = find_signature(target)
    except LookupError:  # refused where the target is checked
        return []
    return [key for key in KEYS if signature is not None and key in signature.arguments]


def _choose(asked: str | None, pretrained: str | None, target: str, tags: Tags, where: str) -> tuple[str | None, str]:
    """Return the tag whose preprocessing is taken, None if there is none, and in words why this one."""
    own = split_model_name_tag(target)[1]
    if asked not in (None, MODEL):
        if asked not in tags:
            known = closest(str(asked), [*tags, MODEL, DATA]) or f"; there are {', '.join([*tags, MODEL, DATA])}"
            raise RegistryError(f"{where}: neither model, data nor a tag of {target}{known}")
        if (
            pretrained is not None
            and pretrained in tags
            and tags[pretrained].preprocessing != tags[str(asked)].preprocessing
        ):
            raise ConfigError(
                f"{where}: the weights are those of model.pretrained={pretrained}; leave data.preprocessing out"
            )
        return asked, ""
    if pretrained is None or pretrained in tags:
        return pretrained or own or next(iter(tags), None), ""
    named = next((tag for tag, source in tags.items() if source.file_name == Path(pretrained).name), None)
    if named is not None:
        return named, f", whose file is called {tags[named].file_name}"
    first = own or next((tag for tag, source in tags.items() if source.preprocessing is not None), None)
    others = "|".join(tag for tag in tags if tag != first)
    why = "" if own else f", the first tag of the name{f' (others: data.preprocessing={others})' if others else ''}"
    return first, why


def _take(composed: Composed, needs: Preprocessing, taken: list[str]) -> str:
    """Set the arguments of the dataset that nobody else has set; return all of them in words."""
    data, said, own = composed.config["data"], [], []
    for key, value in asdict(needs).items():
        if key not in taken:
            continue
        place = _set_by(composed, key)
        if not place:
            data[key] = list(value) if isinstance(value, tuple) else value
        elif data.get(key) != (list(value) if isinstance(value, tuple) else value):
            own.append(f"{key} is {place}")
        said.append(f"{key}={_plain(data[key])}")
    left = [key for key in KEYS if key not in taken]
    without = [f"data={data['name']} takes no {', no '.join(left)}"] if left else []
    return "; ".join([" ".join(said), *own, *without])


def _set_by(composed: Composed, key: str) -> str:
    """Return where the user, a recipe or a model's YAML sets an argument of the data; ``""`` if none does."""
    files = [
        f"set in {shorten(path)}"
        for group in ("experiments", "model")
        for path in option_files(group, composed.choices.get(group, ""), composed.search_path)
    ]
    for name in (f"data.{key}", f"model.asks.{key}"):
        place = composed.origin(name)
        if place.startswith("set on the command line") or (name.startswith("data.") and place in files):
            return place
    return ""


def _plain(value: Any) -> str:
    return f"[{','.join(f'{item:g}' for item in value)}]" if isinstance(value, list) else str(value)
