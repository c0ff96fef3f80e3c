"""Key names of other DETRs' checkpoints, both ways: the authors' code and Hugging Face transformers.

``from_<source>(state_dict)`` returns our keys, ``to_<source>(state_dict)`` theirs; tensors are shared, not copied,
except where a fused matrix is split or joined. Our keys are those of the authors (facebookresearch/detr), so their
checkpoints only need unwrapping. Transformers has two layouts, of its modules and of its older files, and two sets of
names for the backbone, timm's (torchvision's names) and its own ResNet's; all can be read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from lab.errors import CheckpointError
from lab.registry.renaming import Rules, StateDict, join_parts, rename, reverse

# (ours, theirs), applied in this order.
_HEADS: Rules = (
    ("input_proj.<rest>", "model.input_projection.<rest>"),
    ("query_embed.weight", "model.query_position_embeddings.weight"),
    ("class_embed.<rest>", "class_labels_classifier.<rest>"),
    ("bbox_embed.<rest>", "bbox_predictor.<rest>"),
    ("backbone.1.row_embed.weight", "model.position_embedding.row_embeddings.weight"),
    ("backbone.1.col_embed.weight", "model.position_embedding.column_embeddings.weight"),
)
_LAYERS: Rules = (
    ("transformer.decoder.norm.<rest>", "model.decoder.layernorm.<rest>"),
    *(
        (f"transformer.{coder}.layers.<n>.{ours}.<rest>", f"model.{coder}.layers.<n>.{theirs}.<rest>")
        for coder, ours, theirs in (
            *((coder, "self_attn.out_proj", "self_attn.o_proj") for coder in ("encoder", "decoder")),
            *((coder, "norm1", "self_attn_layer_norm") for coder in ("encoder", "decoder")),
            *((coder, f"linear{n}", f"mlp.fc{n}") for coder in ("encoder", "decoder") for n in (1, 2)),
            ("encoder", "norm2", "final_layer_norm"),
            ("decoder", "multihead_attn.out_proj", "encoder_attn.o_proj"),
            ("decoder", "norm2", "encoder_attn_layer_norm"),
            ("decoder", "norm3", "final_layer_norm"),
        )
    ),
)
_TIMM_BACKBONE: Rules = (("backbone.0.body.<rest>", "model.backbone.model.<rest>"),)
_STAGE, _THEIR_STAGE = "backbone.0.body.layer<stage+1>.<n>", "model.backbone.model.encoder.stages.<stage>.layers.<n>"
_RESNET_BACKBONE: Rules = (
    ("backbone.0.body.conv1.<rest>", "model.backbone.model.embedder.embedder.convolution.<rest>"),
    ("backbone.0.body.bn1.<rest>", "model.backbone.model.embedder.embedder.normalization.<rest>"),
    (f"{_STAGE}.downsample.0.<rest>", f"{_THEIR_STAGE}.shortcut.convolution.<rest>"),
    (f"{_STAGE}.downsample.1.<rest>", f"{_THEIR_STAGE}.shortcut.normalization.<rest>"),
    (f"{_STAGE}.conv<k+1>.<rest>", f"{_THEIR_STAGE}.layer.<k>.convolution.<rest>"),
    (f"{_STAGE}.bn<k+1>.<rest>", f"{_THEIR_STAGE}.layer.<k>.normalization.<rest>"),
)
# Names in transformers' files before its version 5; its own loader renames them in the same way.
_OLD_NAMES = (
    (r"backbone\.conv_encoder\.", "backbone."),
    (r"\.out_proj\.", ".o_proj."),
    (r"(layers\.\d+)\.fc", r"\1.mlp.fc"),
)
_FUSED = re.compile(r"transformer\.((?:en|de)coder\.layers\.\d+)\.(self_attn|multihead_attn)\.in_proj_(weight|bias)")
_SPLIT = re.compile(r"model\.((?:en|de)coder\.layers\.\d+)\.(self_attn|encoder_attn)\.([qkv])_proj\.(weight|bias)")
_ATTENTIONS = {"self_attn": "self_attn", "multihead_attn": "encoder_attn"}


def from_official(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Convert the authors' checkpoint or state dict; keys of a panoptic model's mask head are kept."""
    state: Mapping[str, Any] = state_dict.get("model", state_dict)
    return {key.removeprefix("detr."): value for key, value in state.items() if not _is_counter(key)}


def to_official(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into the authors' DETR."""
    return dict(state_dict)


def from_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert the state dict of a ``DetrForObjectDetection``, in either layout and with either backbone.

    Raises:
        CheckpointError: a key belongs to no DETR.
    """
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    native = any("backbone.model.embedder." in key for key in map(_modern, state_dict))
    rules = reverse(_rules("resnet" if native else "timm"))
    for old_key, value in state_dict.items():
        key = _modern(old_key)
        match = _SPLIT.fullmatch(key)
        if match is not None:
            layer, attention, part, kind = match.groups()
            ours = next(name for name, theirs in _ATTENTIONS.items() if theirs == attention)
            parts.setdefault(f"transformer.{layer}.{ours}.in_proj_{kind}", {})[part] = value
        elif not _is_counter(key):
            renamed[_rename(key, rules)] = value
    return renamed | join_parts(parts, "qkv")


def to_transformers(state_dict: StateDict, backbone: Literal["timm", "resnet"] = "timm") -> dict[str, Tensor]:
    """Return a state dict that loads strictly into transformers' ``DetrForObjectDetection``.

    Args:
        state_dict: the state dict of our DETR with learned queries.
        backbone: the names to write: timm's, which transformers' default config builds, or those of its own ResNet.

    Raises:
        CheckpointError: a key has no equivalent there (those of anchor queries).
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        match = _FUSED.fullmatch(key)
        if match is None:
            renamed[_rename(key, _rules(backbone))] = value
            continue
        layer, attention, kind = match.groups()
        for part, chunk in zip("qkv", value.chunk(3), strict=True):
            renamed[f"model.{layer}.{_ATTENTIONS[attention]}.{part}_proj.{kind}"] = chunk
    return renamed


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert any known layout into ours; ours is not changed. The registry loads weights with this function."""
    if any(key.startswith("class_labels_classifier.") for key in state_dict):
        return from_transformers(state_dict)
    return from_official(state_dict)


def _rules(backbone: str) -> Rules:
    return (*_HEADS, *_LAYERS, *(_TIMM_BACKBONE if backbone == "timm" else _RESNET_BACKBONE))


def _modern(key: str) -> str:
    for old, new in _OLD_NAMES:
        key = re.sub(old, new, key)
    return key


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _rename(key: str, rules: Rules) -> str:
    renamed = rename(key, rules)
    if renamed is None:
        raise CheckpointError(f"{key!r} belongs to no DETR with learned queries")
    return renamed
