"""Key names of other BLOOM checkpoints, both ways: transformers' (with and without its prefix and head)."""

from __future__ import annotations

from torch import Tensor

from lab.registry.renaming import StateDict

_PREFIX = "transformer."
_HEAD = "lm_head.weight"


def from_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert a state dict of ``BloomModel`` or ``BloomForCausalLM``; the head is the embedding."""
    return {key.removeprefix(_PREFIX): value for key, value in state_dict.items() if key != _HEAD}


def to_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into ``BloomForCausalLM``."""
    theirs = {f"{_PREFIX}{key}": value for key, value in state_dict.items()}
    return {**theirs, _HEAD: state_dict["word_embeddings.weight"]}


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert any known layout into ours; ours is not changed. The registry loads weights with this function."""
    return from_transformers(state_dict)
