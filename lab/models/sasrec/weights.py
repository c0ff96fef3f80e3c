"""Key names of other SASRec checkpoints, both ways: pmixer's PyTorch code (all its versions) and RecBole.

``from_<source>(state_dict)`` returns our keys, ``to_<source>(state_dict)`` theirs; tensors are shared, not copied,
except where a fused matrix is split or joined. Each loads only into its own variant. pmixer's versions compute
different things with the same keys: see ``norm`` and ``position_rows`` of ``lab.models.sasrec.network.SASRec``.
"""

from __future__ import annotations

import re

from torch import Tensor

from lab.errors import CheckpointError
from lab.registry.renaming import Rules, StateDict, beginnings, join_parts, rename, reverse

# (ours, theirs): prefixes of a key; <n> is the number of a block.
_PMIXER: Rules = (
    ("blocks.<n>.attention_norm.", "attention_layernorms.<n>."),
    ("blocks.<n>.attention.", "attention_layers.<n>."),
    ("blocks.<n>.feedforward_norm.", "forward_layernorms.<n>."),
    ("blocks.<n>.linear1.", "forward_layers.<n>.conv1."),
    ("blocks.<n>.linear2.", "forward_layers.<n>.conv2."),
    ("item_emb.", "item_emb."),
    ("pos_emb.", "pos_emb."),
    ("norm.", "last_layernorm."),
)
_LAYER = "trm_encoder.layer.<n>"
_RECBOLE: Rules = (
    ("blocks.<n>.query_key_value.", f"{_LAYER}.multi_head_attention.query_key_value."),
    ("blocks.<n>.out_proj.", f"{_LAYER}.multi_head_attention.dense."),
    ("blocks.<n>.attention_norm.", f"{_LAYER}.multi_head_attention.LayerNorm."),
    ("blocks.<n>.linear1.", f"{_LAYER}.feed_forward.dense_1."),
    ("blocks.<n>.linear2.", f"{_LAYER}.feed_forward.dense_2."),
    ("blocks.<n>.feedforward_norm.", f"{_LAYER}.feed_forward.LayerNorm."),
    ("item_emb.", "item_embedding."),
    ("pos_emb.", "position_embedding."),
    ("norm.", "LayerNorm."),
)
_PARTS = ("query", "key", "value")
_SPLIT = re.compile(r"(trm_encoder\.layer\.\d+\.multi_head_attention)\.(query|key|value)\.(weight|bias)")


def from_pmixer(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert a state dict of pmixer's code, of any version.

    Raises:
        CheckpointError: a key belongs to no such network.
    """
    renamed = {_rename(key, reverse(_PMIXER)): value for key, value in state_dict.items()}
    # Their linear layers are convolutions of width 1.
    return {
        key: value.squeeze(-1) if ".linear" in key and value.dim() == 3 else value for key, value in renamed.items()
    }


def to_pmixer(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into pmixer's code.

    Raises:
        CheckpointError: it is of another variant.
    """
    renamed = {_rename(key, _PMIXER): value for key, value in state_dict.items()}
    return {key: value[..., None] if re.search(r"conv\d\.weight", key) else value for key, value in renamed.items()}


def from_recbole(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert a state dict of RecBole's SASRec.

    Raises:
        CheckpointError: a key belongs to no such network, or one of queries, keys and values is missing.
    """
    joined: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state_dict.items():
        match = _SPLIT.fullmatch(key)
        if match is None:
            joined[key] = value
        else:
            parts.setdefault(f"{match[1]}.query_key_value.{match[3]}", {})[match[2]] = value
    joined |= join_parts(parts, _PARTS)
    return {_rename(key, reverse(_RECBOLE)): value for key, value in joined.items()}


def to_recbole(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into RecBole's SASRec.

    Raises:
        CheckpointError: it is of another variant.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        theirs = _rename(key, _RECBOLE)
        if "query_key_value" in theirs:
            for part, chunk in zip(_PARTS, value.chunk(3), strict=True):
                renamed[theirs.replace("query_key_value", part)] = chunk
        else:
            renamed[theirs] = value
    return renamed


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert any known layout into ours; ours is not changed. The registry loads weights with this function."""
    if "last_layernorm.weight" in state_dict:
        return from_pmixer(state_dict)
    if "item_embedding.weight" in state_dict:
        return from_recbole(state_dict)
    return dict(state_dict)


def _rename(key: str, rules: Rules) -> str:
    """Replace the prefix of a key by the first rule that matches."""
    renamed = rename(key, beginnings(rules))
    if renamed is None:
        raise CheckpointError(f"{key!r} belongs to no SASRec of this layout")
    return renamed
