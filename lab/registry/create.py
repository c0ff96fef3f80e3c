"""Build a model by name and load its weights: ``lab.create_model("detr_resnet50.coco", pretrained=True)``."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.errors import ConfigError, RegistryError, closest
from lab.registry.allowed import is_sealed
from lab.registry.arguments import check_call, gathered
from lab.registry.folders import read_folder
from lab.registry.models import ModelEntry, is_model, model_entry, model_entrypoint
from lab.registry.names import WEIGHT_FILES, listed, parse_model_name, split_model_name_tag
from lab.registry.pretrained import LoadReport, WeightsSource, fetch, load_pretrained
from lab.system.files import is_there

if TYPE_CHECKING:
    from torch import nn

_OF_TIMM = frozenset({"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args"})
"""Arguments by which timm would load files of weights."""


def create_model(
    name: str,
    *,
    pretrained: bool | str | Path = False,
    num_classes: int | None = None,
    features_only: bool | None = None,
    out_indices: Sequence[int] | None = None,
    weights_dir: str | Path | None = None,
    strict: bool = True,
    **arguments: Any,
) -> nn.Module:
    """Build a model by name and, if asked, load its weights.

    Args:
        name: ``[source:]name[.tag]``. A ``local-dir:`` or ``hf-hub:`` model is a folder with ``config.json``
            (``{"architecture": name, "model_args": {...}}``) and ``model.safetensors`` or ``model.pth``.
        pretrained: True for the weights of the name's tag (or of the model's first one), or a file
            (``.pth``, ``.pt``, ``.ckpt``, ``.npz``, ``.pkl`` of arrays, ``.safetensors``, ``.mdlus``, darknet's
            ``.weights``; a checkpoint folder of lab; a TensorFlow checkpoint's index or prefix; a folder of shards, see
            ``lab.registry.shards``).
        num_classes: K, passed to the model; a head for another K is dropped from pretrained weights, with a note.
        features_only: build a backbone that returns a list of maps, with their channels as ``num_channels``.
        out_indices: which maps: 0 is the stem, 1 to 4 the stages.
        weights_dir: cache of downloads; default: env LAB_WEIGHTS_DIR, else ``~/.cache/lab/weights``.
        strict: missing or unexpected keys are an error; if False they are logged as a warning.
        **arguments: the model's own arguments, checked against its entry function.

    Raises:
        RegistryError: unknown source, name or tag.
        ConfigError: the model has no such argument.
        CheckpointError: the weights are missing and cannot be downloaded, are damaged, or do not fit.
    """
    pretrained = False if is_sealed() else pretrained  # the checkpoint's own weights fill the network
    given = {"num_classes": num_classes, "features_only": features_only, "out_indices": out_indices}
    arguments = {**arguments, **{key: value for key, value in given.items() if value is not None}}
    source, identifier = parse_model_name(name)
    if source == "timm":
        return _create_timm(identifier, pretrained, arguments, weights_dir)
    file: Path | None = None
    if source in ("local-dir", "hf-hub"):
        identifier, defaults, file = read_folder(source, identifier, bool(pretrained))
        arguments = {**defaults, **arguments}
    function, entry = model_entrypoint(identifier), model_entry(identifier)
    weights = _weights_of(entry, identifier) if file is None else None
    check_call(function, arguments, name)
    model: nn.Module = function(**gathered(function, arguments))
    if pretrained is False:
        return model
    if pretrained is not True:
        file = Path(pretrained)
    elif file is None:
        if weights is None:
            raise RegistryError(f"model {entry.name!r} has no pretrained weights; give a file: pretrained='FILE'")
        file = fetch(weights, weights_dir)
    load_pretrained(
        model,
        file,
        classifier=entry.classifier,
        converter=entry.converter,
        strict=strict,
        allow_unexpected=bool(features_only),
    )
    return model


def load_weights(
    model: nn.Module, target: str, source: str | Path, weights_dir: str | Path | None = None, strict: bool = True
) -> LoadReport:
    """Load pretrained weights into a model that was built from ``target``.

    Args:
        model: the model; on the meta device only names and shapes are compared.
        target: a registered name, or the dotted path of a class that registered models are instances of.
        source: a file, or a tag of the registered name such as ``coco``.
        weights_dir: cache of downloads.
        strict: missing or unexpected keys are an error.

    Raises:
        RegistryError: ``source`` is neither a file nor a tag.
        CheckpointError: the weights cannot be read or do not fit.
    """
    entry = model_entry(target) if is_model(target) else None
    path = find_weights(target, source)
    if isinstance(path, WeightsSource):
        path = fetch(path, weights_dir)
    return load_pretrained(
        model,
        path,
        classifier=entry.classifier if entry else (),
        converter=entry.converter if entry else None,
        strict=strict,
    )


def find_weights(target: str, source: str | Path) -> Path | WeightsSource:
    """Return the file that ``source`` names, or the download source if ``source`` is a tag.

    Raises:
        RegistryError: ``source`` is neither a file nor a tag.
    """
    entry = model_entry(target) if is_model(target) else None
    path = Path(source)
    if not is_there(path) and path.suffix not in WEIGHT_FILES and not is_there(f"{source}.index"):
        if entry is None:
            raise RegistryError(f"pretrained={source}: no such file, and {target} is no registered model with tags")
        weights = _weights_of(entry, f"{entry.name}.{source}")
        if weights is None:
            raise RegistryError(f"model {entry.name!r} has no pretrained weights; give a file")
        return weights
    return path


def _weights_of(entry: ModelEntry, name: str) -> WeightsSource | None:
    tag = split_model_name_tag(name)[1]
    if tag and tag not in entry.pretrained:
        known = f"has {listed(entry.pretrained)}" if entry.pretrained else "has no pretrained weights"
        raise RegistryError(f"model {entry.name!r} {known}, not the tag {tag!r}{closest(tag, entry.pretrained)}")
    return entry.pretrained[tag] if tag else next(iter(entry.pretrained.values()), None)


def _create_timm(
    name: str, pretrained: bool | str | Path, arguments: dict[str, Any], cache: str | Path | None
) -> nn.Module:
    if importlib.util.find_spec("timm") is None:
        raise RegistryError(f"model 'timm:{name}' needs timm, which is not installed: pip install timm")
    timm = importlib.import_module("timm")
    if not timm.is_model(name):
        base = split_model_name_tag(name)[0]
        raise RegistryError(f"unknown model 'timm:{base}'{closest(base, timm.list_models())}")
    taken = sorted(_OF_TIMM.intersection(arguments))
    if taken:
        raise ConfigError(f"{taken[0]}: not taken for 'timm:{name}'; weights are given by pretrained=true or =FILE")
    model: Any = timm.create_model(name, pretrained=pretrained is True, cache_dir=cache, **arguments)
    if not isinstance(pretrained, bool):  # not loaded by timm, whose older versions unpickle any file
        load_pretrained(model, Path(pretrained), allow_unexpected=bool(arguments.get("features_only")))
    if arguments.get("features_only"):
        model.num_channels = tuple(model.feature_info.channels())
    return model


def classes_of(source: str) -> tuple[type, ...]:
    """Return the classes that every model of another source is an instance of; none if this is not known."""
    if source != "timm":
        return ()
    from torch import nn

    return (nn.Module,)
