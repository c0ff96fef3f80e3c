"""Key names of other BLOOM checkpoints, both ways: transformers' and Megatron-DeepSpeed's.

Ours are transformers' without its prefix ``transformer.`` and without ``lm_head.weight``, which is the embedding; the
files of bigscience's repositories are written so. Megatron's layer files stand in a folder: see ``megatron``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lab.errors import CheckpointError
from lab.models.bloom.megatron import find_layers, from_megatron, is_megatron, split_megatron, to_megatron
from lab.registry.renaming import StateDict
from lab.registry.shards import Shards

__all__ = [
    "convert",
    "from_megatron",
    "from_transformers",
    "shards_of",
    "split_megatron",
    "to_megatron",
    "to_transformers",
]

_PREFIX = "transformer."
_HEAD = "lm_head.weight"
_WORDS = "word_embeddings.weight"


def from_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert a state dict of ``BloomModel`` or ``BloomForCausalLM``.

    Raises:
        CheckpointError: the head is another matrix than the embeddings.
    """
    head, words = state_dict.get(_HEAD), state_dict.get(f"{_PREFIX}{_WORDS}", state_dict.get(_WORDS))
    if head is not None and words is not None and not head.is_meta and not torch.equal(head, words):
        raise CheckpointError(f"{_HEAD} is another matrix than the embeddings of the words; here they are one")
    return {key.removeprefix(_PREFIX): value for key, value in state_dict.items() if key != _HEAD}


def to_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into ``BloomForCausalLM``."""
    theirs = {f"{_PREFIX}{key}": value for key, value in state_dict.items()}
    return {**theirs, _HEAD: state_dict[_WORDS]}


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert any known layout into ours; ours is not changed. The registry loads weights with this function."""
    return from_megatron(state_dict) if is_megatron(state_dict) else from_transformers(state_dict)


def shards_of(folder: Path) -> Shards | None:
    """Return Megatron's layer files in a folder; None if there are none. The registry asks this function."""
    return find_layers(folder)
