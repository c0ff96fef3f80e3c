"""Models by name, in timm's manner (``timm.models._registry``): register, list, create, with tags and sources.

``@register_model`` on an entry function makes its name known. The names of lab's own rooms are read from their source
text, so listing them imports no architecture and no torch; a user's package registers its models when it is imported.
A name may carry a tag of pretrained weights (``"detr_resnet50.coco"``) and a source (``"timm:resnet50.a1_in1k"``,
``"local-dir:folder"``, ``"hf-hub:owner/name"``); without a source it is one of ours.
"""

from __future__ import annotations

import ast
import fnmatch
import functools
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from lab.errors import CheckpointError, ConfigError, RegistryError, closest
from lab.registry.allowed import allow_package, is_sealed, register, vouch
from lab.registry.arguments import check_arguments
from lab.registry.pretrained import LoadReport, WeightsSource, fetch, fetch_from_hub, load_pretrained, weights_dir
from lab.system.files import is_there
from lab.system.registrations import make_table

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "LoadReport",
    "ModelName",
    "allow_package",
    "create_model",
    "find_weights",
    "is_model",
    "list_models",
    "load_pretrained",
    "load_weights",
    "model_entry",
    "model_entrypoint",
    "parse_model_name",
    "register",
    "register_model",
    "split_model_name_tag",
    "stand_alone",
    "weights_dir",
]

EntryPoint = TypeVar("EntryPoint", bound=Callable[..., Any])
SOURCES = ("lab", "timm", "local-dir", "hf-hub")
_OF_TIMM = frozenset({"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args"})
"""Arguments by which timm loads files that the others name."""
_MODELS_DIR = Path(__file__).resolve().parent.parent / "models"
_DECORATED = re.compile(r"^@register_model\b.*?^(?:def|class) (\w+)", re.MULTILINE | re.DOTALL)


class ModelName(NamedTuple):
    """Where a model comes from (one of ``SOURCES``) and its name there, tag included."""

    source: str
    name: str


@dataclass(frozen=True)
class ModelEntry:
    """What is known of a registered model; ``function`` is None until its module was imported."""

    name: str
    module: str
    file: str
    line: int
    pretrained: Mapping[str, WeightsSource] = field(default_factory=dict)
    classifier: tuple[str, ...] = ()
    converter: str | None = None
    function: Callable[..., Any] | None = None

    @property
    def place(self) -> str:
        """Module, file and line of the entry function."""
        return f"{self.module} ({self.file}:{self.line})"


_registered: dict[str, ModelEntry] = make_table(lambda _, entry: str(entry.module))


@functools.cache
def _ours() -> dict[str, ModelEntry]:
    """Read the entries of lab's own rooms from their source text: a manifest that cannot go stale."""
    entries: dict[str, ModelEntry] = {}
    for path in sorted(_MODELS_DIR.glob("*/*.py")):
        text = path.read_text(encoding="utf-8")
        for match in _DECORATED.finditer(text):
            name = match[1]
            module = f"lab.models.{path.parent.name}" + ("" if path.stem == "__init__" else f".{path.stem}")
            line = text.count("\n", 0, match.start()) + 1
            entry = _make_entry(name, module, str(path), line, **_literal_arguments(match[0], path, line))
            if name in entries:
                raise RegistryError(f"model {name!r} is registered twice: in {entries[name].place} and {entry.place}")
            entries[name] = entry
    return entries


def _literal_arguments(text: str, path: Path, line: int) -> dict[str, Any]:
    """Return the keyword arguments of the ``@register_model(...)`` that ``text`` begins with."""
    header = re.sub(r"(def|class) \w+\Z", "def entry(): ...", text)
    function = ast.parse(header).body[0]
    assert isinstance(function, ast.FunctionDef)
    call = function.decorator_list[0]
    try:
        return (
            {str(item.arg): ast.literal_eval(item.value) for item in call.keywords}
            if isinstance(call, ast.Call)
            else {}
        )
    except ValueError as error:
        raise RegistryError(f"{path}:{line}: arguments of @register_model must be literals: {error}") from error


def _make_entry(
    name: str,
    module: str,
    file: str,
    line: int,
    pretrained: Mapping[str, str | Mapping[str, str]] | None = None,
    classifier: str | Sequence[str] = (),
    converter: str | None = None,
) -> ModelEntry:
    weights = {tag: WeightsSource.parse(source, f"{name}.{tag}") for tag, source in (pretrained or {}).items()}
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return ModelEntry(name, module, file, line, weights, heads, converter)


@overload
def register_model(function: EntryPoint) -> EntryPoint: ...


@overload
def register_model(
    *,
    pretrained: Mapping[str, str | Mapping[str, str]] | None = ...,
    classifier: str | Sequence[str] = ...,
    converter: str | None = ...,
) -> Callable[[EntryPoint], EntryPoint]: ...


def register_model(
    function: Callable[..., Any] | None = None,
    *,
    pretrained: Mapping[str, str | Mapping[str, str]] | None = None,
    classifier: str | Sequence[str] = (),
    converter: str | None = None,
) -> Any:
    """Register an entry function under its own name; within lab/models the arguments must be literals.

    Args:
        function: the entry function, when used without parentheses. It returns an ``nn.Module``.
        pretrained: a tag for each set of official weights, the first one being the default: a URL whose file name ends
            in ``-<first digits of its SHA-256>``, or a dict with ``url``, ``sha256`` and, optionally, ``file_name``.
        classifier: name(s) of the submodule(s) that depend on the number of classes; dropped from weights of another.
        converter: dotted path of a function ``state_dict -> state_dict`` that brings every known layout of keys into
            ours, and leaves ours as it is.

    Raises:
        RegistryError: the name is taken by another function; both places are named.
    """

    def register(entry_function: EntryPoint) -> EntryPoint:
        name, module = entry_function.__name__, entry_function.__module__
        code = getattr(entry_function, "__code__", None)
        file = code.co_filename if code else str(getattr(sys.modules.get(module), "__file__", module))
        entry = _make_entry(name, module, file, code.co_firstlineno if code else 0, pretrained, classifier, converter)
        for known in (_registered.get(name), _ours().get(name)):
            # The same place again is the module read before (or reloaded), anything else a clash.
            if known is not None and (known.module, known.line) != (entry.module, entry.line):
                raise RegistryError(f"model {name!r} is registered twice: in {known.place} and {entry.place}")
        _registered[name] = replace(entry, function=entry_function)
        vouch(entry_function)
        return entry_function

    return register if function is None else register(function)


def split_model_name_tag(name: str) -> tuple[str, str]:
    """Split ``"resnet50.tv_in1k"`` at its first dot into name and tag; the tag is ``""`` where there is none."""
    base, _, tag = name.partition(".")
    return base, tag


def parse_model_name(name: str) -> ModelName:
    """Split ``"timm:resnet50"`` into source and name; a name without a source is one of ours.

    Raises:
        RegistryError: the source is unknown, the name empty, or written with a slash as in ``timm/resnet50``.
    """
    source, colon, rest = name.partition(":")
    if not colon:
        source, rest = "lab", name
    source = source.replace("_", "-")
    if source not in SOURCES:
        raise RegistryError(f"model {name!r}: unknown source {source!r}, not one of {_listed(SOURCES)}")
    if not rest:
        raise RegistryError(f"model {name!r}: the name is empty")
    if source == "lab" and "/" in rest:
        first, _, base = rest.partition("/")
        hint = f"timm:{base}" if first == "timm" else f"hf-hub:{rest}' or 'local-dir:{rest}"
        raise RegistryError(f"model {name!r}: a name of ours has no slash; for another source write '{hint}'")
    return ModelName(source, rest)


def is_model(name: str) -> bool:
    """Whether ``name`` is registered; its tag is not looked at."""
    base = split_model_name_tag(name)[0]
    return base in _registered or base in _ours()


def list_models(
    pattern: str | Iterable[str] = "*", pretrained: bool = False, exclude: str | Iterable[str] = ()
) -> list[str]:
    """Return the names that match any of the shell patterns, in natural order; imports neither models nor torch.

    Args:
        pattern: one pattern (``"detr*"``) or several.
        pretrained: list ``name.tag`` of the models that have pretrained weights instead.
        exclude: pattern(s) of names to leave out.
    """
    entries = {**_ours(), **_registered}
    names = [f"{name}.{tag}" for name, entry in entries.items() for tag in entry.pretrained] if pretrained else entries
    wanted, unwanted = ((item,) if isinstance(item, str) else tuple(item) for item in (pattern, exclude))

    def matches(name: str, patterns: Iterable[str]) -> bool:
        base = split_model_name_tag(name)[0]
        return any(fnmatch.fnmatchcase(name, item) or fnmatch.fnmatchcase(base, item) for item in patterns)

    found = [name for name in names if matches(name, wanted) and not matches(name, unwanted)]
    return sorted(found, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def _entry(name: str, imported: bool = False) -> ModelEntry:
    base = split_model_name_tag(name)[0]
    entry = _registered.get(base) or _ours().get(base)
    if entry is None:
        raise RegistryError(f"unknown model {base!r}{closest(base, list_models())}")
    if imported and entry.function is None:
        importlib.import_module(entry.module)
        if base not in _registered:
            raise RegistryError(f"model {base!r} is asked for while {entry.place} is still being imported")
        return _registered[base]
    return entry


def classes_of(source: str) -> tuple[type, ...]:
    """Return the classes of which every model of a source other than ours is known to be; none where it is not."""
    if source != "timm":
        return ()
    from torch import nn

    return (nn.Module,)


def model_entry(name: str) -> ModelEntry:
    """Return what is known of a registered model; imports nothing.

    Raises:
        RegistryError: the name is unknown; the closest ones are named.
    """
    return _entry(name)


def model_entrypoint(name: str) -> Callable[..., nn.Module]:
    """Return the entry function of a registered model; imports its room.

    Raises:
        RegistryError: the name is unknown; the closest ones are named.
    """
    function = _entry(name, imported=True).function
    assert function is not None
    return function


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
            (``.pth``, ``.pt``, ``.ckpt``, ``.pkl`` of arrays, ``.safetensors``; or a checkpoint folder of lab).
        num_classes: K, handed to the model; a head of another count is dropped from pretrained weights and said so.
        features_only: build a backbone that returns a list of maps, with their channels as ``num_channels``.
        out_indices: which maps: 0 is the stem, 1 to 4 the stages.
        weights_dir: cache of downloads; default: env LAB_WEIGHTS_DIR, else ``~/.cache/lab/weights``.
        strict: missing or unexpected keys are an error; if False they are logged as a warning.
        **arguments: the model's own arguments, checked against its entry function.

    Raises:
        RegistryError: unknown source, name or tag.
        ConfigError: the model has no such argument.
        CheckpointError: the weights are absent and cannot be fetched, are damaged, or do not fit.
    """
    pretrained = False if is_sealed() else pretrained  # the checkpoint's own weights fill the network
    given = {"num_classes": num_classes, "features_only": features_only, "out_indices": out_indices}
    arguments = {**arguments, **{key: value for key, value in given.items() if value is not None}}
    source, identifier = parse_model_name(name)
    if source == "timm":
        return _create_timm(identifier, pretrained, arguments, weights_dir)
    file: Path | None = None
    if source in ("local-dir", "hf-hub"):
        identifier, defaults, file = _read_folder(source, identifier, bool(pretrained))
        arguments = {**defaults, **arguments}
    entry = _entry(identifier, imported=True)
    weights = _weights_of(entry, identifier) if file is None else None
    function = model_entrypoint(identifier)
    check_arguments(function, arguments, name)
    model: nn.Module = function(**arguments)
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
        model: the model; on the meta device names and shapes are compared, and nothing is filled.
        target: a registered name, or the dotted path of a class of which registered models are made.
        source: a file, or a tag of the registered name such as ``coco``.
        weights_dir: cache of downloads.
        strict: missing or unexpected keys are an error.

    Raises:
        RegistryError: ``source`` is neither a file nor a tag.
        CheckpointError: the weights cannot be read or do not fit.
    """
    entry = _entry(target, imported=True) if is_model(target) else None
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
    """Return the file that ``source`` names, or what is to be fetched for the tag that it is.

    Raises:
        RegistryError: ``source`` is neither a file nor a tag.
    """
    entry = _entry(target) if is_model(target) else None
    path = Path(source)
    if not is_there(path) and path.suffix not in (".pth", ".pt", ".ckpt", ".pkl", ".safetensors"):
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
        known = f"has {_listed(entry.pretrained)}" if entry.pretrained else "has no pretrained weights"
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
    if not isinstance(pretrained, bool):  # not by timm, whose older versions unpickle what they are given
        load_pretrained(model, Path(pretrained), allow_unexpected=bool(arguments.get("features_only")))
    if arguments.get("features_only"):
        model.num_channels = tuple(model.feature_info.channels())
    return model


def _read_folder(source: str, identifier: str, with_weights: bool) -> tuple[str, dict[str, Any], Path | None]:
    """Return architecture, model arguments and file of weights of a local folder or a repository on the Hub."""
    import json

    folder = Path(identifier) if source == "local-dir" else fetch_from_hub(identifier, with_weights, is_sealed())
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise CheckpointError(f"'{source}:{identifier}': {config_file} is missing")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        architecture, arguments = str(config["architecture"]), dict(config.get("model_args") or {})
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{config_file}: expected a JSON object with 'architecture' and 'model_args'") from error
    files = [folder / f"model.{suffix}" for suffix in ("safetensors", "pth", "pt")]
    found = next((file for file in files if file.is_file()), None)
    if with_weights and found is None:
        raise CheckpointError(f"'{source}:{identifier}': neither {_listed(file.name for file in files)} in {folder}")
    return split_model_name_tag(architecture)[0], arguments, found


def stand_alone(node: Any) -> Any:
    """Return a tree of nodes in which models of folders and of the Hub are named by their architecture and arguments.

    That is what stands in checkpoints: loading one reads no other place.

    Raises:
        CheckpointError: such a folder cannot be read.
    """
    if isinstance(node, list | tuple) and not is_sealed():
        return [stand_alone(item) for item in node]
    if not isinstance(node, Mapping) or is_sealed():  # what a checkpoint holds is refused where it does not
        return node
    tree = {key: stand_alone(item) for key, item in node.items()}
    target = tree.get("_target_")
    if not isinstance(target, str) or not target.startswith(("local-dir:", "local_dir:", "hf-hub:", "hf_hub:")):
        return tree
    architecture, arguments, _ = _read_folder(*parse_model_name(target), with_weights=False)
    return {**arguments, **tree, "_target_": architecture}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
