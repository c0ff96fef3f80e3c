"""Reads files of weights without running code, and removes the prefixes of wrappers from their keys.

Keys such as ``module._orig_mod.layer.weight`` come from a network that was compiled inside of DataParallel. Prefixes of
such wrappers are removed in any order and depth, if more keys fit then.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.checkpoint.unpickling import read_arrays, reason_of
from lab.errors import CheckpointError
from lab.registry.mdlus import read_mdlus
from lab.registry.migrations import RECORD, MigrationStep, check_versions, migrate, steps_to, versions_of
from lab.registry.shards import join, open_shards
from lab.registry.tensor_bundle import find_bundle, read_bundle
from lab.registry.tensor_slices import find_slices, read_slices

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)
# Keys under which trainers keep the weights.
_CONTAINERS = ("model", "state_dict", "model_state_dict", "model_state")
WRAPPERS = frozenset({"module", "net", "model", "_orig_mod", "_forward_module", "_fsdp_wrapped_module"})
"""Names under which trainers and wrappers hold a network."""
_INSIDE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module")
"""Those of them that wrap parts of a network too, the least ambiguous first."""
_DEPTH = 12


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
        tensors: by name.
        versions: of the classes of their network (``lab.registry.migrations``), where lab has written the file; None
            for a file of unknown origin.
        meta: what a torch checkpoint says about itself under ``meta``, as those of OpenMMLab do.
    """

    tensors: dict[str, Tensor]
    versions: dict[str, int] | None
    meta: Mapping[str, Any] = field(default_factory=dict)


def read_state_dict(file: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a file or a checkpoint folder, in the layout that they have there; see ``read_weights``."""
    return read_weights(file).tensors


def read_weights(file: str | Path, device: str = "cpu") -> Weights:
    """Read a file or a checkpoint folder; nothing is executed.

    Files are torch checkpoints, ``.safetensors``, numpy's ``.npz``, detectron2's ``.pkl`` of arrays and physicsnemo's
    ``.mdlus``; a folder with sharded safetensors, or their index, is read whole. TensorFlow's checkpoints are named by
    their index or prefix, or, in version 1, by their one file.

    Args:
        file: the file or folder.
        device: where tensors of torch's files are put; ``"meta"`` for their names, shapes and dtypes alone.

    Raises:
        CheckpointError: the file is missing, damaged, or holds no dictionary of dense tensors.
    """
    import torch

    path = Path(file)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise CheckpointError(f"weights {str(path)[:200]} cannot be read ({reason_of(error)})") from None
    shards = open_shards(path)
    if shards is not None:
        return Weights(join(shards), None)
    bundle = None if is_folder else find_bundle(path)
    if bundle is not None:
        return Weights(read_bundle(bundle), None)
    if is_folder:
        from lab.checkpoint.format import CheckpointReader
        from lab.registry.migrated import recorded

        reader = CheckpointReader(path)
        reader.verify()
        tensors = {name.removeprefix("model/"): reader.read(name) for name in reader.names("model/")}
        return Weights(tensors, recorded(reader))
    if not is_file:
        raise CheckpointError(f"weights {path} {'are no plain file' if path.exists() else 'do not exist'}")
    if path.suffix not in (".safetensors", ".npz", ".pkl") and find_slices(path):
        return Weights(read_slices(path), None)
    content = _read(path, device)
    versions = _versions(content, path)
    meta = content.get("meta") if isinstance(content, Mapping) else None
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"weights {path} hold a {type(content).__name__}, and no tensors by name")
    if path.suffix in (".npz", ".pkl"):
        content = _tensors(content, path)
    tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CheckpointError(f"weights {path} hold no tensors by name")
    for key, value in tensors.items():
        if not isinstance(key, str):
            raise CheckpointError(f"weights {path} name a tensor {str(key)[:80]!r}, which is no string")
        if (
            value.layout != torch.strided
            or value.is_quantized
            or (value.is_meta and device != "meta")
            or value.is_complex()
        ):
            kind = "meta" if value.is_meta else f"{str(value.layout).removeprefix('torch.')} {value.dtype}"
            raise CheckpointError(f"weights {path}: {key[:80]} is a {kind} tensor; only dense real ones are accepted")
    return Weights(tensors, versions, meta if isinstance(meta, Mapping) else {})


def _versions(content: Any, path: Path) -> dict[str, int] | None:
    """Return the versions that a file records; {} for a consolidated file of before there were versions."""
    header: Mapping[str, Any] = {}
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="pt") as opened:
            header = opened.metadata() or {}
        if RECORD not in header:
            return {} if "hyper_parameters" in header else None
        try:
            return check_versions(json.loads(header[RECORD]), f"weights {path}")
        except ValueError as error:
            raise CheckpointError(f"weights {path}: their {RECORD} are no JSON ({reason_of(error)})") from error
    if isinstance(content, Mapping) and RECORD in content:
        return check_versions(content[RECORD], f"weights {path}")
    return None


def _read(path: Path, device: str) -> Any:
    """Return the content of a file; only tensors are constructed."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix == ".pkl":
            return read_arrays(path)
        if path.suffix == ".mdlus":
            return read_mdlus(path, device)
        if path.suffix == ".npz":
            import numpy as np

            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        # The official DETR code stores its command line, a harmless Namespace, beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location=device, weights_only=True)
    except CheckpointError as error:
        raise CheckpointError(f"weights {path} are not read: {error}") from error
    except Exception as error:  # zipfile, pickle, safetensors and torch each have their own errors for a bad file
        raise CheckpointError(f"weights {path} cannot be read as tensors alone ({reason_of(error)})") from error


def _tensors(content: Mapping[Any, Any], path: Path) -> dict[Any, Any]:
    """Turn the numpy arrays among the values into tensors."""
    import numpy as np
    import torch

    found = {}
    for key, value in content.items():
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in "fiub":
                raise CheckpointError(f"weights {path}: {str(key)[:80]} is an array of {value.dtype}, and no numbers")
            value = torch.from_numpy(np.array(value))
        found[key] = value
    return found


def told(convert: Callable[..., Any] | None, meta: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """Return a converter of keys that knows what the file says about itself, if it has an argument ``meta``."""
    if convert is None or "meta" not in inspect.signature(convert).parameters:
        return convert
    return functools.partial(convert, meta=meta)


def in_present_layout(
    weights: Weights, model: nn.Module, convert: Callable[[Any], Any] | None, where: str
) -> dict[str, Tensor]:
    """Return weights with a network's own keys: without prefixes of wrappers, migrated and converted.

    A file of unknown origin records no versions. It is taken as it is; only if that does not fit, and weights of
    version 1 would fit better, as these.

    Args:
        weights: of the file.
        model: the network that they are for.
        convert: as of ``unwrap``.
        where: the file, for errors.

    Raises:
        CheckpointError: a migration is missing, or the layout is unknown.
    """
    own = model.state_dict()

    def led_by(steps: list[MigrationStep]) -> dict[str, Tensor]:
        def lead(state: dict[str, Tensor]) -> Any:
            current = migrate(state, steps, where)
            return current if convert is None else convert(current)

        return unwrap(weights.tensors, own, lead if steps else convert)

    if weights.versions is not None:
        return led_by(steps_to(model, weights.versions, where))
    if not any(version > 1 for version in versions_of(model).values()):
        return led_by([])
    found: list[dict[str, Tensor]] = []
    reasons: list[CheckpointError] = []
    for versions in (versions_of(model), {}):
        try:
            found.append(led_by(steps_to(model, versions, where)))
        except CheckpointError as error:
            reasons.append(error)
    if not found:
        raise reasons[0]
    return max(found, key=lambda state: sum(key in own and own[key].shape == state[key].shape for key in state))


def unwrap(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], convert: Callable[[Any], Any] | None = None
) -> dict[str, Tensor]:
    """Convert the keys of weights to those of a network: from another layout, and without prefixes of wrappers.

    Args:
        state: the weights in the file.
        own: the network's own state.
        convert: converts every known layout to lab's, and leaves lab's own unchanged; it does not handle wrappers.

    Raises:
        CheckpointError: ``convert`` does not know the layout.
    """
    best: dict[str, Tensor] | None = None
    first: CheckpointError | None = None
    for prefix in _prefixes(state) if convert is not None else ("",):
        try:
            found = _converted(_without(state, prefix, own), convert)
        except CheckpointError as error:
            first = first or error
            continue
        found = _inside(max((_without(found, less, own) for less in _prefixes(found)), key=_fits(own)), own)
        if best is None or _fits(own)(found) > _fits(own)(best):
            best = found
    if best is None:
        assert first is not None
        raise first
    return best


def _fits(own: Mapping[str, Tensor]) -> Callable[[Mapping[str, Tensor]], tuple[int, int]]:
    """Return a function that counts the keys that fit: first without wrappers of parts, then unchanged."""
    return lambda state: (sum(key in own or _bare(key) in own for key in state), sum(key in own for key in state))


def _converted(state: dict[str, Tensor], convert: Callable[[Any], Any] | None) -> dict[str, Tensor]:
    try:
        return dict(convert(state)) if convert is not None else state
    except CheckpointError:
        raise
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"the weights have an unknown layout ({reason_of(error)})") from error


def _prefixes(keys: Iterable[str]) -> list[str]:
    """Return every chain of wrapper prefixes among the keys, the empty one first, shorter ones before longer ones."""
    found = {""}
    for key in keys:
        prefix = ""
        for part in key.split(".")[:-1][:_DEPTH]:
            if part not in WRAPPERS:
                break
            prefix += f"{part}."
            found.add(prefix)
    return sorted(found, key=len)


def _without(state: Mapping[str, Tensor], prefix: str, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove a prefix. Drop keys without it that do not fit: they were beside the network (a criterion, counts)."""
    if not prefix:
        return dict(state)
    found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    beside = {key: value for key, value in state.items() if not key.startswith(prefix)}
    if beside:
        logger.info("%d values beside %s* are not the network's: %s", len(beside), prefix, ", ".join([*beside][:4]))
    return {**{key: value for key, value in beside.items() if key in own}, **found}


def _bare(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _INSIDE)


def _inside(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove wrappers of parts of the network from keys that fit only without them."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        bare = _bare(key)
        found[bare if key not in own and bare in own and bare not in state else key] = value
    return found
