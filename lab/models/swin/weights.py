"""Key names of other Swin checkpoints, both ways: the authors' code, Hugging Face transformers and timm.

``from_<source>(state_dict)`` returns our keys, ``to_<source>(state_dict)`` theirs; tensors are shared, not copied,
except where a fused matrix is split or joined. Our keys are those of the authors: of their classifier (``norm``,
``head``) and of the backbone in their detection and segmentation code (``norm0`` to ``norm3``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lab.errors import CheckpointError
from lab.registry.renaming import Rules, StateDict, beginnings, join_parts, rename, reverse

_CONSTANTS = ("relative_position_index", "attn_mask")
# (ours, theirs): patterns of the prefix of a key; <n> and <m> are numbers.
_BLOCK, _THEIR_BLOCK = "layers.<n>.blocks.<m>", "encoder.layers.<n>.blocks.<m>"
_TRANSFORMERS: Rules = (
    ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    ("patch_embed.norm.", "embeddings.norm."),
    (f"{_BLOCK}.norm1.", f"{_THEIR_BLOCK}.layernorm_before."),
    (f"{_BLOCK}.norm2.", f"{_THEIR_BLOCK}.layernorm_after."),
    (f"{_BLOCK}.attn.proj.", f"{_THEIR_BLOCK}.attention.o_proj."),
    (f"{_BLOCK}.attn.relative_position", f"{_THEIR_BLOCK}.attention.relative_position_bias.relative_position"),
    (f"{_BLOCK}.mlp.", f"{_THEIR_BLOCK}.mlp."),
    ("layers.<n>.downsample.", "encoder.layers.<n>.downsample."),
    ("norm.", "layernorm."),
)
# (old, new): names in transformers' files and in its versions before 5.
_OLD_NAMES = (
    (r"\.attention\.self\.(query|key|value)\.", lambda match: f".attention.{match[1][0]}_proj."),
    (r"\.attention\.self\.relative_position", ".attention.relative_position_bias.relative_position"),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
_FUSED = re.compile(r"(layers\.\d+\.blocks\.\d+)\.attn\.qkv\.(weight|bias)")
_SPLIT = re.compile(r"encoder\.(layers\.\d+\.blocks\.\d+)\.attention\.([qkv])_proj\.(weight|bias)")


def from_official(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Convert the authors' checkpoint or state dict, of the classifier or a backbone; constant buffers are dropped."""
    state: Mapping[str, Any] = state_dict.get("model", state_dict)
    return {key: value for key, value in state.items() if not key.endswith(_CONSTANTS)}


def to_official(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict for the authors' code, without the constant buffers that their code makes itself."""
    return dict(state_dict)


def from_timm(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert the state dict of timm's Swin, which merges patches at the beginning of a stage."""
    renamed = {}
    for key, value in from_official(state_dict).items():
        key = re.sub(r"^layers\.(\d+)\.downsample\.", lambda match: f"layers.{int(match[1]) - 1}.downsample.", key)
        renamed[key.replace("head.fc.", "head.")] = value
    return renamed


def to_timm(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into timm's Swin classifier."""
    renamed = {}
    for key, value in state_dict.items():
        key = re.sub(r"^layers\.(\d+)\.downsample\.", lambda match: f"layers.{int(match[1]) + 1}.downsample.", key)
        renamed[re.sub(r"^head\.", "head.fc.", key)] = value
    return renamed


def from_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert the state dict of a ``SwinModel``, ``SwinForImageClassification`` or ``SwinBackbone``, old or new names.

    Raises:
        CheckpointError: a key belongs to no Swin, or one of queries, keys and values is missing.
    """
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    rules = reverse(_TRANSFORMERS)
    for old_key, value in state_dict.items():
        key = _modern(old_key)
        split = _SPLIT.fullmatch(key)
        stage = re.fullmatch(r"hidden_states_norms\.stage(\d+)\.(\w+)", key)
        if key.endswith(_CONSTANTS):
            continue
        if split is not None:
            parts.setdefault(f"{split[1]}.attn.qkv.{split[3]}", {})[split[2]] = value
        elif stage is not None:
            renamed[f"norm{int(stage[1]) - 1}.{stage[2]}"] = value
        elif key.startswith("classifier."):
            renamed[f"head.{key.removeprefix('classifier.')}"] = value
        else:
            renamed[_rename(key, rules)] = value
    return renamed | join_parts(parts, "qkv")


def to_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict for transformers.

    That of a classifier loads strictly into ``SwinForImageClassification``, that of a backbone into ``SwinBackbone``
    except for its final ``swin.layernorm``, which is not used there.

    Raises:
        CheckpointError: a key has no equivalent there.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        fused = _FUSED.fullmatch(key)
        stage = re.fullmatch(r"norm(\d+)\.(\w+)", key)
        if fused is not None:
            for part, chunk in zip("qkv", value.chunk(3), strict=True):
                renamed[f"swin.encoder.{fused[1]}.attention.{part}_proj.{fused[2]}"] = chunk
        elif stage is not None:
            renamed[f"hidden_states_norms.stage{int(stage[1]) + 1}.{stage[2]}"] = value
        elif key.startswith("head."):
            renamed[f"classifier.{key.removeprefix('head.')}"] = value
        else:
            renamed[f"swin.{_rename(key, _TRANSFORMERS)}"] = value
    return renamed


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert any known layout into ours; ours is not changed. The registry loads weights with this function."""
    if any("embeddings.patch_embeddings." in key for key in state_dict):
        return from_transformers(state_dict)
    merges = {match[1] for key in state_dict if (match := re.match(r"layers\.(\d+)\.downsample\.", key))}
    # The authors merge patches after the first stage, timm before the second.
    if (merges and "0" not in merges) or any(key.startswith("head.fc.") for key in state_dict):
        return from_timm(state_dict)
    return from_official(state_dict)


def _modern(key: str) -> str:
    key = key.removeprefix("swin.")
    for old, new in _OLD_NAMES:
        key = re.sub(old, new, key)
    return key


def _rename(key: str, rules: Rules) -> str:
    """Replace the prefix of a key by the first rule that matches."""
    renamed = rename(key, beginnings(rules))
    if renamed is None:
        raise CheckpointError(f"{key!r} belongs to no Swin Transformer of this layout")
    return renamed
