"""Megatron-DeepSpeed's files: one for each layer of the pipeline and rank of the tensor group, merged and split.

``layer_01-model_00-model_states.pt`` holds the first rank's part of layer 1. Layer 1 is the embedding with its norm,
layers from 3 on are the blocks (``layer_03`` is block 0), the last one is the norm behind them, as a bare ``weight``
and ``bias``. Matrices that Megatron splits by their columns (``ColumnParallelLinear``, the embedding) are joined along
dimension 0, those that it splits by their rows along dimension 1. Norms and the biases of row-parallel layers stand on
every rank and should be equal, but drifted apart in training: they are averaged, as BigScience's own conversion does.

Merged tensors are named ``layer_01.word_embeddings.weight``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lab.checking import check_range
from lab.checkpoint.unpickling import reason_of
from lab.errors import CheckpointError, ConfigError
from lab.registry.renaming import StateDict
from lab.registry.weights import read_weights

_FILE = re.compile(r"layer_(\d+)-model_(\d+)-model_states\.pt")
_MERGED = re.compile(r"layer_(\d+)\.(.+)")
_BY_ROWS = ("self_attention.dense.weight", "mlp.dense_4h_to_h.weight")
_ON_EVERY_RANK = ("norm.weight", "norm.bias", "self_attention.dense.bias", "mlp.dense_4h_to_h.bias")
_EMBEDDING, _FIRST_BLOCK = 1, 3
_THEIRS, _OURS = "word_embeddings.norm.", "word_embeddings_layernorm."


class LayerFiles:
    """The files of a folder, as ``lab.registry.shards.Shards``; the parts of a layer are merged.

    Args:
        files: for each number of a layer, the files of the ranks in their order.
    """

    def __init__(self, files: Mapping[int, Sequence[Path]]) -> None:
        self.files = files

    def handles(self) -> dict[str, Tensor]:
        """Return all tensors on the meta device; values are not read."""
        return {name: tensor for layer in self.files for name, tensor in self._merged(layer, "meta").items()}

    def parts(self) -> Iterator[dict[str, Tensor]]:
        """Yield the tensors of one layer after the other."""
        for layer in self.files:
            yield self._merged(layer, "cpu")

    def _merged(self, layer: int, device: str) -> dict[str, Tensor]:
        ranks = [read_weights(file, device).tensors for file in self.files[layer]]
        for file, tensors in zip(self.files[layer], ranks, strict=True):
            if tensors.keys() != ranks[0].keys():
                wrong = sorted(tensors.keys() ^ ranks[0].keys())[0]
                raise CheckpointError(f"weights {file}: {wrong!r} is not on every rank of its layer")
        try:
            return {f"layer_{layer:02d}.{key}": merge(key, [each[key] for each in ranks]) for key in ranks[0]}
        except RuntimeError as error:
            raise CheckpointError(f"weights {self.files[layer][0]}: parts do not fit ({reason_of(error)})") from error


def find_layers(folder: Path) -> LayerFiles | None:
    """Return the layer files of a folder; None if it has none.

    Raises:
        CheckpointError: files of a rank are missing.
    """
    found: dict[int, dict[int, Path]] = {}
    for file in folder.iterdir():
        match = _FILE.fullmatch(file.name)
        if match:
            found.setdefault(int(match[1]), {})[int(match[2])] = file
    if not found:
        return None
    ranks = max(map(len, found.values()))
    for layer, files in sorted(found.items()):
        if sorted(files) != list(range(ranks)):
            missing = sorted(set(range(ranks)) - set(files))[:1] or [max(files)]
            raise CheckpointError(
                f"weights {folder}: layer_{layer:02d}-model_{missing[0]:02d}-model_states.pt is missing; other layers "
                f"have the parts of {ranks} ranks"
            )
    last = max(found)
    absent = sorted({_EMBEDDING, *range(_FIRST_BLOCK, last - 1)} - set(found))
    if absent:
        raise CheckpointError(f"weights {folder}: layer_{absent[0]:02d} is missing between layers 1 and {last}")
    return LayerFiles({layer: [files[rank] for rank in range(ranks)] for layer, files in sorted(found.items())})


def merge(key: str, parts: Sequence[Tensor]) -> Tensor:
    """Return a tensor from the parts of all ranks; ``key`` is its name within the layer."""
    if len(parts) == 1:
        return parts[0]
    if _is_on_every_rank(key):
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total / len(parts)
    return torch.cat(list(parts), dim=1 if key.endswith(_BY_ROWS) else 0)


def split_megatron(state_dict: StateDict, ranks: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the name and the content of each file of a network that is split over some ranks.

    Args:
        state_dict: with lab's keys.
        ranks: the number of ranks of the tensor group.

    Raises:
        ConfigError: the ranks cannot share a matrix equally.
        CheckpointError: a key belongs to no such network.
    """
    check_range("ranks", ranks, least=1)
    layers: dict[int, dict[str, Tensor]] = {}
    for name, tensor in to_megatron(state_dict).items():
        layer, key = _taken_apart(name)
        layers.setdefault(layer, {})[key] = tensor
    for layer, tensors in sorted(layers.items()):
        for rank in range(ranks):
            part = {key: _part(key, tensor, rank, ranks) for key, tensor in tensors.items()}
            yield f"layer_{layer:02d}-model_{rank:02d}-model_states.pt", part


def from_megatron(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert the names of merged layers to lab's.

    Raises:
        CheckpointError: a key belongs to no such network.
    """
    parts = {name: _taken_apart(name) for name in state_dict}
    last = max(layer for layer, _ in parts.values())
    found = {}
    for name, (layer, key) in parts.items():
        if layer == _EMBEDDING:
            ours = key.replace(_THEIRS, _OURS)
        else:
            ours = f"ln_f.{key}" if layer == last and "." not in key else f"h.{layer - _FIRST_BLOCK}.{key}"
        found[ours] = state_dict[name]
    return found


def to_megatron(state_dict: StateDict) -> dict[str, Tensor]:
    """Return the tensors by the names of merged layers.

    Raises:
        CheckpointError: a key belongs to no such network.
    """
    numbers = [int(key.split(".")[1]) for key in state_dict if re.match(r"h\.\d+\.", key)]
    last = _FIRST_BLOCK + max(numbers, default=-1) + 2  # a layer without parameters stands before the last norm
    found = {}
    for name, tensor in state_dict.items():
        block = re.fullmatch(r"h\.(\d+)\.(.+)", name)
        if block:
            theirs = f"layer_{int(block[1]) + _FIRST_BLOCK:02d}.{block[2]}"
        elif name.startswith("ln_f."):
            theirs = f"layer_{last:02d}.{name.removeprefix('ln_f.')}"
        elif name.startswith(("word_", "position_", "tokentype_")):
            theirs = f"layer_{_EMBEDDING:02d}.{name.replace(_OURS, _THEIRS)}"
        else:
            raise CheckpointError(f"{name!r} has no place in Megatron's layers")
        found[theirs] = tensor
    return found


def is_megatron(state_dict: StateDict) -> bool:
    """Whether the names are those of merged layers."""
    return any(_MERGED.fullmatch(name) for name in state_dict)


def _taken_apart(name: str) -> tuple[int, str]:
    match = _MERGED.fullmatch(name)
    if match is None:
        raise CheckpointError(f"{name!r} belongs to no layer of Megatron")
    return int(match[1]), match[2]


def _is_on_every_rank(key: str) -> bool:
    return "." not in key or key.endswith(_ON_EVERY_RANK) or key.startswith(("position_", "tokentype_"))


def _part(key: str, tensor: Tensor, rank: int, ranks: int) -> Tensor:
    if _is_on_every_rank(key):
        return tensor
    dim = 1 if key.endswith(_BY_ROWS) else 0
    if tensor.shape[dim] % ranks:
        raise ConfigError(f"{ranks} ranks cannot share {tensor.shape[dim]}, a side of {key}, equally")
    return tensor.chunk(ranks, dim)[rank].clone()
