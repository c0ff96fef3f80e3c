"""Checks the ``_target_`` nodes of a config and their arguments from source texts alone. No torch.

A target is a registered model's name (``detr_resnet50``) or a dotted path; a user's extensions are read, not imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.config.arguments import Given, check_arguments
from lab.config.checks import DATA_METADATA, check_config, check_machine
from lab.config.compose import Composed
from lab.config.signatures import find_signature
from lab.errors import ConfigError, RegistryError, closest
from lab.launch.kinds import check_extensions, settings_finder
from lab.launch.weights import settle_weights, theirs
from lab.registry import models as registry
from lab.registry.allowed import NotAllowed, allowed_packages, locate
from lab.registry.names import parse_model_name, split_model_name_tag

_OF_CREATE_MODEL = frozenset({"pretrained", "features_only", "out_indices", "weights_dir", "strict"})


def check_all(composed: Composed, machine: bool = True) -> None:
    """Check everything that can be checked without torch: the config, its targets and, if ``machine``, files.

    Afterwards ``composed.config`` has the types of the schemas.

    Raises:
        LabError: the first thing that is wrong.
    """
    check_targets(composed, check_config(composed, settings_finder(composed)).from_data)
    if machine:
        check_machine(composed)


def check_targets(composed: Composed, from_data: Sequence[str] = ()) -> None:
    """Check extensions, targets, their arguments and pretrained weights, and settle what is left to these.

    Args:
        composed: a checked config.
        from_data: arguments of the network that are taken from the data.

    Raises:
        ConfigError: a package, a dotted path or an argument does not exist.
        RegistryError: a model name or tag is unknown.
    """
    check_extensions(composed)
    config = composed.config
    net = config["model"]["net"]
    for key in from_data:
        if key in net:
            what, where = key.removeprefix("num_").replace("_", " "), composed.origin(f"model.net.{key}")
            raise ConfigError(f"model.net.{key}: the data says how many {what} there are; leave it out ({where})")
    _check_node("model.net", net, composed)
    settle_weights(composed)
    if not composed.own_data:
        _check_node("data", {key: value for key, value in config["data"].items() if key not in DATA_METADATA}, composed)


def _check_node(path: str, node: Mapping[str, Any], composed: Composed) -> None:
    target = node["_target_"]
    where = f"{path}._target_={target}"
    name, extra = target, frozenset[str]()
    if isinstance(target, str) and (":" in target or "." not in target or _is_model(target, composed)):
        name, extra = _entry_function(target, where, composed.config["extensions"]), _OF_CREATE_MODEL
    elif not isinstance(target, str) or target.split(".")[0] not in _allowed(composed):
        allowed = ", ".join(sorted(_allowed(composed)))
        raise ConfigError(f"{where}: not in an allowed package ({allowed}); name your own by extensions=[PACKAGE]")
    else:
        try:
            name = ".".join(locate(target, _allowed(composed)))
        except NotAllowed as error:
            origin = composed.origin(f"{path}._target_")
            raise ConfigError(f"{where}: {error.problem} ({origin}){error.hint}") from None
    try:
        signature = find_signature(name) if name else None
    except LookupError as error:
        problem, near = error.args
        raise ConfigError(f"{where}: {problem} ({composed.origin(f'{path}._target_')}){near}") from None
    if signature is not None:
        check_arguments(Given(path, node, composed.origin, extra=extra), signature)
    for key, value in node.items():
        _check_below(f"{path}.{key}", value, composed)


def _check_below(path: str, value: Any, composed: Composed) -> None:
    """Check the nodes in a value, at any depth of lists and mappings."""
    if isinstance(value, Mapping) and "_target_" in value:
        _check_node(path, value, composed)
    elif isinstance(value, Mapping | list | tuple):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            _check_below(f"{path}.{key}", item, composed)


def _allowed(composed: Composed) -> set[str]:
    return {*allowed_packages(), *(name.partition(".")[0] for name in composed.config["extensions"])}


def _is_model(target: str, composed: Composed) -> bool:
    base = split_model_name_tag(target)[0]
    return registry.is_model(base) or base in theirs(composed.config["extensions"])[0]


def _entry_function(target: str, where: str, extensions: list[str]) -> str | None:
    """Return the dotted path of a registered model's entry function; None if only an import could tell."""
    try:
        source, name = parse_model_name(target)
        if source != "lab":
            return None
        base, tag = split_model_name_tag(name)
        if registry.is_model(base):
            entry = registry.model_entry(base)
            if tag and tag not in entry.pretrained:
                raise RegistryError(f"{base} has no weights {tag!r}{closest(tag, entry.pretrained)}")
            return f"{entry.module}.{base}"
    except RegistryError as error:
        raise RegistryError(f"{where}: {error}") from None
    found, mistakes = theirs(extensions)
    if base in found:
        tags = found[base].options.get("pretrained") or {}
        if tag and tag not in tags and "pretrained" not in found[base].unread:
            raise RegistryError(f"{where}: {base} has no weights {tag!r}{closest(tag, tags)}")
        return f"{found[base].module}.{base}"
    if mistakes:
        raise RegistryError(f"{where}: unknown model {base!r}, and an extension cannot be read: {mistakes[0]}")
    if not extensions:
        raise RegistryError(f"{where}: unknown model {base!r}{closest(base, registry.list_models())}")
    return None  # an extension may register it in a way that its text does not show
