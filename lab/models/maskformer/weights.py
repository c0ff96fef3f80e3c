"""Key names of other MaskFormers' checkpoints, both ways: the authors' code and Hugging Face transformers.

``from_<source>(state_dict)`` returns our keys, ``to_<source>(state_dict)`` theirs; tensors are shared, not copied,
except where a fused matrix is split or joined. The authors' files (detectron2) have two layouts: version 1, that of the
published files, has no ``pixel_decoder`` in its names. Constants that their modules make themselves are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from lab.errors import CheckpointError
from lab.registry.renaming import Rules, StateDict, join_parts, rename, reverse

_CONSTANTS = (
    "relative_position_index",
    "attn_mask",
    "num_batches_tracked",
    "criterion.empty_weight",
    "pixel_mean",
    "pixel_std",
)
# (ours, theirs) for detectron2's ResNet; other backbones (Swin) have our names.
_STAGE = "backbone.layer<n>.<m>"
_DETECTRON_STAGE = "backbone.res<n+1>.<m>"
_DETECTRON: Rules = (
    ("backbone.conv1.weight", "backbone.stem.conv1.weight"),
    ("backbone.bn1.<rest>", "backbone.stem.conv1.norm.<rest>"),
    (f"{_STAGE}.downsample.0.weight", f"{_DETECTRON_STAGE}.shortcut.weight"),
    (f"{_STAGE}.downsample.1.<rest>", f"{_DETECTRON_STAGE}.shortcut.norm.<rest>"),
    (f"{_STAGE}.conv<k>.weight", f"{_DETECTRON_STAGE}.conv<k>.weight"),
    (f"{_STAGE}.bn<k>.<rest>", f"{_DETECTRON_STAGE}.conv<k>.norm.<rest>"),
)
_DECODER, _THEIR_DECODER = "predictor.transformer.decoder.layers.<n>", "model.transformer_module.decoder.layers.<n>"
_FPN = "model.pixel_level_module.decoder.fpn"
_HEADS: Rules = (
    ("pixel_decoder.layer_4.weight", f"{_FPN}.stem.0.weight"),
    ("pixel_decoder.layer_4.norm.<rest>", f"{_FPN}.stem.1.<rest>"),
    *(
        (f"pixel_decoder.{ours}_{3 - level}.{our_part}<rest>", f"{_FPN}.layers.{level}.{theirs}.{part}.<rest>")
        for level in range(3)
        for ours, theirs in (("adapter", "proj"), ("layer", "block"))
        for our_part, part in (("norm.", 1), ("", 0))
    ),
    ("pixel_decoder.mask_features.<rest>", "model.pixel_level_module.decoder.mask_projection.<rest>"),
    ("predictor.query_embed.weight", "model.transformer_module.queries_embedder.weight"),
    ("predictor.input_proj.<rest>", "model.transformer_module.input_projection.<rest>"),
    ("predictor.class_embed.<rest>", "class_predictor.<rest>"),
    ("predictor.mask_embed.layers.<n>.<rest>", "mask_embedder.<n>.0.<rest>"),
    ("predictor.transformer.decoder.norm.<rest>", "model.transformer_module.decoder.layernorm.<rest>"),
    *(
        (f"{_DECODER}.{ours}.<rest>", f"{_THEIR_DECODER}.{theirs}.<rest>")
        for ours, theirs in (
            ("self_attn.out_proj", "self_attn.o_proj"),
            ("multihead_attn.out_proj", "encoder_attn.o_proj"),
            ("linear1", "mlp.fc1"),
            ("linear2", "mlp.fc2"),
            ("norm1", "self_attn_layer_norm"),
            ("norm2", "encoder_attn_layer_norm"),
            ("norm3", "final_layer_norm"),
        )
    ),
)
_BODY = "model.pixel_level_module.encoder"
_BLOCK, _THEIR_BLOCK = "backbone.layers.<n>.blocks.<m>", f"{_BODY}.model.encoder.layers.<n>.blocks.<m>"
_SWIN: Rules = (
    ("backbone.patch_embed.proj.<rest>", f"{_BODY}.model.embeddings.patch_embeddings.projection.<rest>"),
    ("backbone.patch_embed.norm.<rest>", f"{_BODY}.model.embeddings.norm.<rest>"),
    (f"{_BLOCK}.norm1.<rest>", f"{_THEIR_BLOCK}.layernorm_before.<rest>"),
    (f"{_BLOCK}.norm2.<rest>", f"{_THEIR_BLOCK}.layernorm_after.<rest>"),
    (f"{_BLOCK}.attn.proj.<rest>", f"{_THEIR_BLOCK}.attention.output.dense.<rest>"),
    (
        f"{_BLOCK}.attn.relative_position_bias_table",
        f"{_THEIR_BLOCK}.attention.self.relative_position_bias_table",
    ),
    (f"{_BLOCK}.mlp.fc1.<rest>", f"{_THEIR_BLOCK}.intermediate.dense.<rest>"),
    (f"{_BLOCK}.mlp.fc2.<rest>", f"{_THEIR_BLOCK}.output.dense.<rest>"),
    ("backbone.layers.<n>.downsample.<rest>", f"{_BODY}.model.encoder.layers.<n>.downsample.<rest>"),
    ("backbone.norm<n>.<rest>", f"{_BODY}.hidden_states_norms.<n>.<rest>"),
)
_RESNET_STAGE, _THEIR_RESNET_STAGE = "backbone.layer<stage+1>.<n>", f"{_BODY}.encoder.stages.<stage>.layers.<n>"
_RESNET: Rules = (
    ("backbone.conv1.<rest>", f"{_BODY}.embedder.embedder.convolution.<rest>"),
    ("backbone.bn1.<rest>", f"{_BODY}.embedder.embedder.normalization.<rest>"),
    (f"{_RESNET_STAGE}.downsample.0.<rest>", f"{_THEIR_RESNET_STAGE}.shortcut.convolution.<rest>"),
    (f"{_RESNET_STAGE}.downsample.1.<rest>", f"{_THEIR_RESNET_STAGE}.shortcut.normalization.<rest>"),
    (f"{_RESNET_STAGE}.conv<k+1>.<rest>", f"{_THEIR_RESNET_STAGE}.layer.<k>.convolution.<rest>"),
    (f"{_RESNET_STAGE}.bn<k+1>.<rest>", f"{_THEIR_RESNET_STAGE}.layer.<k>.normalization.<rest>"),
)
_TRANSFORMERS: Rules = (*_HEADS, *_SWIN, *_RESNET)
# Names in transformers' files before its version 5.
_OLD_NAMES = (
    (r"(decoder\.layers\.\d+\.\w+)\.out_proj\.", r"\1.o_proj."),
    (r"(decoder\.layers\.\d+)\.fc", r"\1.mlp.fc"),
)
# (ours, its parts in order, theirs without the part): matrices that are fused here and separate there.
_FUSED = (
    (r"predictor\.transformer\.decoder\.(layers\.\d+)\.self_attn\.in_proj_(weight|bias)", "self_attn"),
    (r"predictor\.transformer\.decoder\.(layers\.\d+)\.multihead_attn\.in_proj_(weight|bias)", "encoder_attn"),
)
_FUSED_SWIN = re.compile(r"backbone\.(layers\.\d+\.blocks\.\d+)\.attn\.qkv\.(weight|bias)")
_SPLIT = re.compile(
    r"model\.transformer_module\.decoder\.(layers\.\d+)\.(self_attn|encoder_attn)\.([qkv])_proj\.(weight|bias)"
)
_SPLIT_SWIN = re.compile(
    re.escape(_BODY)
    + r"\.model\.encoder\.(layers\.\d+\.blocks\.\d+)\.attention\.self\.(query|key|value)\.(weight|bias)"
)
_OURS = {"self_attn": "self_attn", "encoder_attn": "multihead_attn"}


def from_official(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Convert the authors' checkpoint or state dict, of version 1 or 2."""
    state: Mapping[str, Any] = state_dict.get("model", state_dict)
    old = not any(key.startswith("sem_seg_head.pixel_decoder.") for key in state)
    rules, renamed = reverse(_DETECTRON), {}
    for key, value in state.items():
        if key.endswith(_CONSTANTS):
            continue
        if key.startswith("sem_seg_head."):
            key = key.removeprefix("sem_seg_head.")
            key = f"pixel_decoder.{key}" if old and not key.startswith("predictor.") else key
        renamed[rename(key, rules) or key] = value
    return renamed


def to_official(state_dict: StateDict, version: Literal[1, 2] = 2) -> dict[str, Tensor]:
    """Return a state dict for the authors' code, without the constants that their code makes itself.

    Args:
        state_dict: the state dict of our network, on a ResNet or a Swin.
        version: 1 for the layout of the published files, 2 for that of the code's own modules.
    """
    renamed = {}
    for key, value in state_dict.items():
        if key.startswith("backbone."):
            key = rename(key, _DETECTRON) or key
        else:
            key = f"sem_seg_head.{key.removeprefix('pixel_decoder.') if version == 1 else key}"
        if not key.endswith(_CONSTANTS):
            renamed[key] = value
    return renamed


def from_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert the state dict of a ``MaskFormerForInstanceSegmentation`` on Swin or ResNet, in either layout.

    Raises:
        CheckpointError: a key belongs to no MaskFormer.
    """
    rules = reverse(_TRANSFORMERS)
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for old_key, value in state_dict.items():
        key = old_key
        for old, new in _OLD_NAMES:
            key = re.sub(old, new, key)
        # Swin's own last norm is not used by a backbone.
        if key.endswith(_CONSTANTS) or key.startswith(f"{_BODY}.model.layernorm."):
            continue
        if match := _SPLIT.fullmatch(key):
            ours = f"predictor.transformer.decoder.{match[1]}.{_OURS[match[2]]}.in_proj_{match[4]}"
            parts.setdefault(ours, {})[match[3]] = value
        elif match := _SPLIT_SWIN.fullmatch(key):
            parts.setdefault(f"backbone.{match[1]}.attn.qkv.{match[3]}", {})[match[2][0]] = value
        else:
            ours_or_none = rename(key, rules)
            if ours_or_none is None:
                raise CheckpointError(f"{old_key!r} belongs to no MaskFormer of transformers")
            renamed[ours_or_none] = value
    return renamed | join_parts(parts, "qkv")


def to_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict for ``MaskFormerForInstanceSegmentation``, without constants and the unused last Swin norm.

    Raises:
        CheckpointError: a key has no equivalent there (those of ``transformer_encoder``).
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        parts = _split_names(key)
        if parts:
            renamed.update(zip(parts, value.chunk(3), strict=True))
            continue
        theirs = rename(key, _TRANSFORMERS)
        if theirs is None:
            raise CheckpointError(f"{key!r} has no place in transformers' MaskFormer, which has only pixel_decoder=fpn")
        renamed[theirs] = value
    return renamed


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert any known layout into ours; ours is not changed. The registry loads weights with this function."""
    if any(key.startswith("class_predictor.") for key in state_dict):
        return from_transformers(state_dict)
    if any(key.startswith("sem_seg_head.") for key in state_dict):
        return from_official(state_dict)
    return dict(state_dict)


def _split_names(key: str) -> list[str]:
    """Return transformers' names of queries, keys and values of a fused matrix; nothing for another key."""
    for pattern, attention in _FUSED:
        if match := re.fullmatch(pattern, key):
            layer = f"model.transformer_module.decoder.{match[1]}.{attention}"
            return [f"{layer}.{part}_proj.{match[2]}" for part in "qkv"]
    if match := _FUSED_SWIN.fullmatch(key):
        block = f"{_BODY}.model.encoder.{match[1]}.attention.self"
        return [f"{block}.{part}.{match[2]}" for part in ("query", "key", "value")]
    return []
