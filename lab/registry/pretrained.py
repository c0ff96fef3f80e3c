"""Pretrained weights: found in a cache or downloaded, checked by their SHA-256, loaded without running code."""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.checkpoint.unpickling import reason_of
from lab.errors import CheckpointError, RegistryError
from lab.registry.preprocessing import Preprocessing, read_preprocessing
from lab.registry.shards import fill, join, open_shards, sources_of
from lab.registry.weights import Weights, in_present_layout, read_state_dict, read_weights, told

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "LoadReport",
    "WeightsSource",
    "fetch",
    "fetch_from_hub",
    "load_pretrained",
    "read_state_dict",
    "weights_dir",
]

logger = logging.getLogger(__name__)
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+\Z")
_TIMEOUT_SECONDS = 20.0
_MISSING = "missing"


@dataclass(frozen=True)
class WeightsSource:
    """One file of published weights.

    Attributes:
        url: where it is.
        sha256: its SHA-256, or at least the first 8 digits; ``""`` if none is published: then it is not downloaded.
        file_name: its name in the cache.
        preprocessing: what the weights need of their images; None if this is not known, or they classify no images.
        top_1: the published top-1 accuracy on ImageNet's validation images, in percent.
        top_5: the published top-5 accuracy.
        published: other figures that the authors give, by name, in percent: ``{"COCO AP": 42.0}``.
    """

    url: str
    sha256: str
    file_name: str
    preprocessing: Preprocessing | None = None
    top_1: float | None = None
    top_5: float | None = None
    published: Mapping[str, float] = field(default_factory=dict)

    def place(self, directory: str | Path | None = None) -> Path:
        """Return the path of the file after its download."""
        return weights_dir(directory) / self.file_name

    @classmethod
    def parse(cls, source: str | Mapping[str, Any], where: str) -> WeightsSource:
        """Read a URL whose file name ends in ``-<digits of its hash>``, or a dict of fields.

        A dict has ``url`` and, optionally, ``sha256`` (null: none is published), ``file_name``, ``top_1``,
        ``top_5``, ``published`` and the fields of ``Preprocessing``; with ``top_1`` or one of these, the others have
        their defaults.

        Raises:
            RegistryError: the hash is missing, or a key or value is wrong.
        """
        values: dict[str, Any] = {"url": source} if isinstance(source, str) else dict(source)
        url, top_1, top_5 = (values.pop(key, None) for key in ("url", "top_1", "top_5"))
        figures = values.pop("published", {})
        if not isinstance(figures, Mapping):
            raise RegistryError(f"weights {where!r}: published={figures!r} is no dict of percentages by name")
        if not isinstance(url, str):
            raise RegistryError(f"weights {where!r}: a tag is a URL, or a dict with 'url'")
        file_name = values.pop("file_name", None) or url.rpartition("/")[2]
        match = _HASH_IN_NAME.search(file_name)
        sha256 = values.pop("sha256", match[1] if match else _MISSING)
        if sha256 is not None and not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
            raise RegistryError(f"weights {where!r}: {url} has no SHA-256 in its name; give 'sha256'")
        for name, value in (("top_1", top_1), ("top_5", top_5), *figures.items()):
            if value is not None and not (isinstance(value, int | float) and 0 < value <= 100):
                raise RegistryError(f"weights {where!r}: {name}={value!r} is no percentage")
        needs = read_preprocessing(values, where) if values or top_1 is not None else None
        return cls(url, sha256 or "", file_name, needs, top_1, top_5, figures)


@dataclass(frozen=True)
class LoadReport:
    """The result of loading weights: keys without a value, values without a key, dropped heads."""

    file: Path
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    dropped: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        """Return the report as one line."""
        parts = [("missing", self.missing), ("unexpected", self.unexpected), ("dropped", self.dropped)]
        return f"{self.file}: " + ("; ".join(f"{name} {_some(keys)}" for name, keys in parts if keys) or "all keys fit")


def weights_dir(given: str | Path | None = None) -> Path:
    """Return the cache of downloaded weights: ``given``, else env LAB_WEIGHTS_DIR, else ``~/.cache/lab/weights``."""
    return Path(given or os.environ.get("LAB_WEIGHTS_DIR") or Path.home() / ".cache" / "lab" / "weights").expanduser()


def fetch(source: WeightsSource, directory: str | Path | None = None) -> Path:
    """Return the cached file of ``source``, downloading it first if it is missing.

    Raises:
        CheckpointError: it cannot be downloaded, its SHA-256 differs, or none is published.
    """
    import hashlib

    path = source.place(directory)
    if not source.sha256:
        raise CheckpointError(
            f"{source.url} has no published SHA-256, so it is not downloaded: get it yourself and give its file, "
            "pretrained=FILE"
        )
    if not path.is_file():
        _download(source, path)
        return path
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(source.sha256):
        raise CheckpointError(
            f"{path} has SHA-256 {digest[: len(source.sha256)]}, expected {source.sha256}: delete it, it is damaged "
            f"or not the file of {source.url}"
        )
    return path


def _download(source: WeightsSource, path: Path) -> None:
    """Download beside the destination and rename at the end: another process never sees half a file."""
    import hashlib
    import tempfile
    import urllib.request  # its TLS support alone would double the time of ``import lab.registry.models``

    digest = hashlib.sha256()
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        logger.info("downloading %s to %s", source.url, path)
        with (
            urllib.request.urlopen(source.url, timeout=_TIMEOUT_SECONDS) as response,
            tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file,
        ):
            temporary = Path(file.name)
            while chunk := response.read(1 << 20):
                digest.update(chunk)
                file.write(chunk)
        if not digest.hexdigest().startswith(source.sha256):
            found = digest.hexdigest()[: len(source.sha256)]
            raise CheckpointError(f"{source.url} has SHA-256 {found}, expected {source.sha256}: not used")
        temporary.replace(path)
    except OSError as error:  # URLError, timeouts and a full or read-only disk are all OSErrors
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(
            f"weights {path} are absent and could not be fetched ({reason}); put the file of {source.url} there"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def fetch_from_hub(repository: str, with_weights: bool, cached: bool = False) -> Path:
    """Return the folder with ``config.json`` (and the weights) of a repository on the Hugging Face Hub.

    Args:
        repository: ``owner/name``, and ``@revision``.
        with_weights: fetch the weights too.
        cached: use only the local cache, without a download.

    Raises:
        CheckpointError: offline and not cached, or no such repository or file.
    """
    hub: Any = importlib.import_module("huggingface_hub")
    repository, _, revision = repository.partition("@")
    patterns = ["config.json", *(["model.safetensors"] if with_weights else [])]
    try:
        return Path(
            hub.snapshot_download(
                repository, revision=revision or None, allow_patterns=patterns, local_files_only=cached
            )
        )
    except Exception as error:  # the Hub's client raises about a dozen unrelated classes
        raise CheckpointError(
            f"'hf-hub:{repository}' could not be fetched ({type(error).__name__}: {str(error).splitlines()[0]}); "
            f"with a copy of it on disk use 'local-dir:FOLDER'"
        ) from error


def load_pretrained(
    model: nn.Module,
    file: str | Path,
    *,
    classifier: str | Sequence[str] = (),
    converter: str | None = None,
    strict: bool = True,
    allow_unexpected: bool = False,
) -> LoadReport:
    """Load weights into ``model`` in place and report what did not fit.

    Args:
        model: the network.
        file: ``.safetensors``, numpy's ``.npz``, detectron2's ``.pkl``, a torch checkpoint (a state dict, or one under
            ``model`` or ``state_dict``), a checkpoint folder of lab, or shards (``lab.registry.shards``).
        classifier: submodules whose weights are dropped, with a warning, if their shape differs, and may be missing.
        converter: dotted path of a function that converts other layouts of keys to lab's. Its module may have
            ``read_file(path, model)``, which returns the tensors of files that mean nothing without the network (those
            of darknet), and None for others.
        strict: raise on missing or unexpected keys instead of warning.
        allow_unexpected: values without a key are no error (a backbone uses only a part of a classifier's weights).

    Raises:
        CheckpointError: the file cannot be read, a shape differs outside of the head, or ``strict`` and keys differ.
    """
    path, own = Path(file), model.state_dict()
    module, _, function = (converter or "").rpartition(".")
    layouts = importlib.import_module(module) if converter else None
    convert = getattr(layouts, function) if converter else None
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    shards, sources = open_shards(path, layouts), None
    read_file = getattr(layouts, "read_file", None)
    read = read_file(path, model) if read_file is not None else None
    if read is not None:
        weights = Weights(read, None)
    else:
        weights = read_weights(path) if shards is None else Weights(shards.handles(), None)
    convert = told(convert, weights.meta)
    try:
        state, dropped = _prepared(model, weights, convert, heads, path)
        if shards is not None:
            sources = sources_of(state, weights.tensors)
            if sources is None:
                logger.info("%s: tensors are joined or computed, so all shards are read at once", path)
                state, dropped = _prepared(model, Weights(join(shards), None), convert, heads, path)
    except CheckpointError as error:
        raise CheckpointError(f"weights {path} do not fit: {error}") from error
    if dropped:
        said = ", ".join(f"{key} {_change(value, own.get(key))}" for key, value in dropped.items())
        logger.warning("%s: the head has another number of classes and was dropped, to be trained: %s", path, said)
    wrong = [
        f"{key} {_change(value, own[key])}"
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    if wrong:
        raise CheckpointError(f"weights {path} do not fit: shape of {_some(wrong)}")
    # Its own values, so that nothing changes: the network's hooks decide which keys it misses and which it knows.
    tried = model.load_state_dict({key: own.get(key, value) for key, value in state.items()}, strict=False)
    missing = tuple(key for key in tried.missing_keys if key not in dropped)
    if missing and not dropped and set(missing) == _of_heads(own, heads, missing) and not tried.unexpected_keys:
        said = ", ".join(head for head in heads if any(key.startswith(f"{head}.") for key in missing))
        logger.warning("%s: it has no weights of %s, which stays as it is, to be trained", path, said)
        missing = ()
    report = LoadReport(path, missing, tuple(tried.unexpected_keys), tuple(dropped))
    if strict and (report.missing or (report.unexpected and not allow_unexpected)):
        raise CheckpointError(f"weights do not fit: {report}")
    if any(value.is_meta for value in own.values()):  # only shapes can be compared
        state, sources = {key: value.to("meta") for key, value in state.items()}, None
    try:
        if shards is not None and sources is not None:
            fill(model, shards, sources)
        else:
            model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"weights {path} do not fit: {reason_of(error)}") from error
    if report.missing or report.unexpected:
        logger.log(logging.INFO if strict else logging.WARNING, "weights: %s", report)
    return report


def _of_heads(own: Mapping[str, Tensor], heads: Sequence[str], missing: Sequence[str]) -> set[str]:
    """Return all keys of those heads of which one is missing: a network without them may begin one that has them."""
    lacking = [head for head in heads if any(key.startswith(f"{head}.") for key in missing)]
    return {key for key in own if any(key.startswith(f"{head}.") for head in lacking)}


def _prepared(
    model: nn.Module, weights: Weights, convert: Any, heads: Sequence[str], path: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return weights with the network's own keys and adapted to it, and those of a head that does not fit."""
    own, state = model.state_dict(), in_present_layout(weights, model, convert, str(path))
    dropped = {
        key: value
        for key, value in state.items()
        if any(key.startswith(f"{head}.") for head in heads) and (key not in own or own[key].shape != value.shape)
    }
    return _adapted(model, {key: value for key, value in state.items() if key not in dropped}, path), dropped


def _adapted(model: nn.Module, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Adapt to the network's number of input channels, and to what its own ``adapt_weights`` knows of.

    A network whose channels are no colours says ``reads_colors = False``: other channels than its file's are refused.
    """
    own, colors = model.state_dict(), getattr(model, "reads_colors", True)
    for key, value in state.items():
        expected = own[key].shape if key in own else value.shape
        is_stem = colors and value.ndim == 4 and value.shape[1] == 3 and expected[1:2] != (3,)
        if is_stem and expected == (value.shape[0], *expected[1:2], *value.shape[2:]):
            logger.warning("%s: %s is adapted from 3 to %d channels of the images", path, key, expected[1])
            state = {**state, key: adapt_in_chans(value, expected[1])}
    adapt = getattr(model, "adapt_weights", None)
    return state if adapt is None else adapt(state)


def adapt_in_chans(weight: Tensor, in_chans: int) -> Tensor:
    """Return the weight of a first convolution for images of another number of channels, as timm does.

    One channel gets the sum over red, green and blue: a grey image gives what its copies in all three would. More
    channels repeat them, scaled so that the sum of inputs keeps its size.

    Args:
        weight: (O, 3, kH, kW).
        in_chans: C.

    Returns:
        (O, C, kH, kW).
    """
    if in_chans == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, -(-in_chans // 3), 1, 1)[:, :in_chans]
    return repeated * (3 / in_chans)


def _change(found: Tensor, expected: Tensor | None) -> str:
    return f"{tuple(found.shape)} -> {'absent' if expected is None else tuple(expected.shape)}"


def _some(keys: Sequence[str], count: int = 8) -> str:
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return f"{len(keys)} ({', '.join(keys[:count])}{more})"
