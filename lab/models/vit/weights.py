"""Key names of other ViT checkpoints, both ways: timm, transformers, torchvision and the authors' ``.npz``.

``from_<source>(state_dict)`` returns our keys, ``to_<source>(state_dict)`` theirs; tensors are shared, not copied, but
where a fused matrix is split or joined or an array of the authors' turned. Ours are timm's names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from lab.errors import CheckpointError
from lab.registry.renaming import Rules, StateDict, beginnings, join_parts, rename, reverse

# (ours, theirs): patterns of the beginning of a key; <n> is a number.
_THEIR_LAYER = "encoder.layers.encoder_layer_<n>"
_TORCHVISION: Rules = (
    ("cls_token", "class_token"),
    ("pos_embed", "encoder.pos_embedding"),
    ("patch_embed.proj.<rest>", "conv_proj.<rest>"),
    ("blocks.<n>.norm1.<rest>", f"{_THEIR_LAYER}.ln_1.<rest>"),
    ("blocks.<n>.norm2.<rest>", f"{_THEIR_LAYER}.ln_2.<rest>"),
    ("blocks.<n>.attn.qkv.<rest>", f"{_THEIR_LAYER}.self_attention.in_proj_<rest>"),
    ("blocks.<n>.attn.proj.<rest>", f"{_THEIR_LAYER}.self_attention.out_proj.<rest>"),
    ("blocks.<n>.mlp.fc1.<rest>", f"{_THEIR_LAYER}.mlp.0.<rest>"),
    ("blocks.<n>.mlp.fc2.<rest>", f"{_THEIR_LAYER}.mlp.3.<rest>"),
    ("norm.<rest>", "encoder.ln.<rest>"),
    ("head.<rest>", "heads.head.<rest>"),
)
_TRANSFORMERS: Rules = (
    ("cls_token", "vit.embeddings.cls_token"),
    ("pos_embed", "vit.embeddings.position_embeddings"),
    *beginnings(
        (
            ("patch_embed.proj.", "vit.embeddings.patch_embeddings.projection."),
            ("blocks.<n>.norm1.", "vit.layers.<n>.layernorm_before."),
            ("blocks.<n>.norm2.", "vit.layers.<n>.layernorm_after."),
            ("blocks.<n>.attn.proj.", "vit.layers.<n>.attention.o_proj."),
            ("blocks.<n>.mlp.", "vit.layers.<n>.mlp."),
            ("norm.", "vit.layernorm."),
            ("head.", "classifier."),
        )
    ),
)
# What transformers' files, and its versions before 5, call it: (old, new).
_OLD_NAMES = (
    (r"^encoder\.layer\.", "layers."),
    (r"\.attention\.attention\.(query|key|value)\.", lambda match: f".attention.{match[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
_FUSED = re.compile(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)")
_SPLIT = re.compile(r"vit\.layers\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)")
_NPZ: Rules = (
    ("cls_token", "cls"),
    ("pos_embed", "Transformer/posembed_input/pos_embedding"),
    ("patch_embed.proj.<rest>", "embedding/<rest>"),
    ("blocks.<n>.norm1.<rest>", "Transformer/encoderblock_<n>/LayerNorm_0/<rest>"),
    ("blocks.<n>.norm2.<rest>", "Transformer/encoderblock_<n>/LayerNorm_2/<rest>"),
    ("blocks.<n>.attn.proj.<rest>", "Transformer/encoderblock_<n>/MultiHeadDotProductAttention_1/out/<rest>"),
    ("blocks.<n>.mlp.fc1.<rest>", "Transformer/encoderblock_<n>/MlpBlock_3/Dense_0/<rest>"),
    ("blocks.<n>.mlp.fc2.<rest>", "Transformer/encoderblock_<n>/MlpBlock_3/Dense_1/<rest>"),
    ("norm.<rest>", "Transformer/encoder_norm/<rest>"),
    ("head.<rest>", "head/<rest>"),
)
_NPZ_SPLIT = re.compile(
    r"Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_1/(query|key|value)/(kernel|bias)"
)
_BEGIN = re.compile(r"^(opt/target|params(/img)?)/")
"""Below these the authors' files keep the weights: the optimizer's, or in big_vision, their later code, params."""
# What that later code calls it: (its, the first one's).
_BIG_VISION = (
    (r"^pos_embedding$", "Transformer/posembed_input/pos_embedding"),
    (r"/LayerNorm_1/", "/LayerNorm_2/"),
    (r"/MlpBlock_0/", "/MlpBlock_3/"),
    (r"/MultiHeadDotProductAttention_0/", "/MultiHeadDotProductAttention_1/"),
)
_STACKED = "Transformer/encoderblock/"


def from_timm(state_dict: StateDict) -> dict[str, Tensor]:
    """Take the state dict of timm's ``VisionTransformer``: ours are its names."""
    return dict(state_dict)


def to_timm(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into timm's ``VisionTransformer``."""
    return dict(state_dict)


def from_torchvision(state_dict: StateDict) -> dict[str, Tensor]:
    """Take the state dict of torchvision's ``VisionTransformer``.

    Raises:
        CheckpointError: a key belongs to no ViT.
    """
    return {_renamed(key, reverse(_TORCHVISION)): value for key, value in state_dict.items()}


def to_torchvision(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into torchvision's ``VisionTransformer``.

    Raises:
        CheckpointError: a key has no place there.
    """
    return {_renamed(key, _TORCHVISION): value for key, value in state_dict.items()}


def from_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Take the state dict of a ``ViTModel`` or ``ViTForImageClassification``, old names or new; its pooler is left out.

    Raises:
        CheckpointError: a key belongs to no ViT, or one of queries, keys and values is missing.
    """
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for old_key, value in state_dict.items():
        key = _modern(old_key)
        split = _SPLIT.fullmatch(key)
        if split is not None:
            parts.setdefault(f"blocks.{split[1]}.attn.qkv.{split[3]}", {})[split[2]] = value
        elif not key.startswith("vit.pooler."):
            renamed[_renamed(key, reverse(_TRANSFORMERS))] = value
    return renamed | join_parts(parts, "qkv")


def to_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into ``ViTForImageClassification``.

    Raises:
        CheckpointError: a key has no place there.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        fused = _FUSED.fullmatch(key)
        if fused is None:
            renamed[_renamed(key, _TRANSFORMERS)] = value
            continue
        for part, chunk in zip("qkv", value.chunk(3), strict=True):
            renamed[f"vit.layers.{fused[1]}.attention.{part}_proj.{fused[2]}"] = chunk
    return renamed


def from_official(state_dict: StateDict) -> dict[str, Tensor]:
    """Take the arrays of the authors' ``.npz``: channels last, matrices (in, out), heads apart.

    The names of the paper's code and those of big_vision are read, also with all blocks stacked in one array.
    A hidden layer before the head (``pre_logits``, of models for ImageNet-21k) is refused: the network has none.

    Raises:
        CheckpointError: a key belongs to no ViT, or one of queries, keys and values is missing.
    """
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in _of_first_code(state_dict):
        split = _NPZ_SPLIT.fullmatch(key)
        if split is not None:
            name = f"blocks.{split[1]}.attn.qkv.{'bias' if split[3] == 'bias' else 'weight'}"
            flat = value.flatten() if split[3] == "bias" else value.flatten(1).T  # (in, heads, width)
            parts.setdefault(name, {})[split[2]] = flat
            continue
        ours = _renamed(re.sub(r"/(kernel|scale)$", "/weight", key), reverse(_NPZ))
        if ours.endswith("attn.proj.weight"):
            value = value.flatten(0, 1).T  # (heads, width, out)
        elif key.endswith("/kernel"):
            value = value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T
        renamed[ours] = value
    joined = join_parts(parts, ("query", "key", "value"))
    return {key: value.contiguous() for key, value in (renamed | joined).items()}


def to_official(state_dict: StateDict, num_heads: int | None = None) -> dict[str, Tensor]:
    """Return the arrays of the authors' ``.npz``.

    Args:
        state_dict: ours.
        num_heads: of the network; None for heads of 64 features, as all published ones have.

    Raises:
        CheckpointError: a key has no place there.
    """
    renamed: dict[str, Tensor] = {}
    heads = num_heads or state_dict["cls_token"].shape[-1] // 64
    for key, value in state_dict.items():
        fused = _FUSED.fullmatch(key)
        if fused is not None:
            place = f"Transformer/encoderblock_{fused[1]}/MultiHeadDotProductAttention_1"
            for part, chunk in zip(("query", "key", "value"), value.chunk(3), strict=True):
                last = "bias" if fused[2] == "bias" else "kernel"
                renamed[f"{place}/{part}/{last}"] = chunk.movedim(0, -1).unflatten(-1, (heads, -1)).contiguous()
            continue
        theirs = _renamed(key, _NPZ)
        if not key.endswith(".weight"):
            renamed[theirs] = value
        elif value.ndim == 1:
            renamed[theirs.removesuffix("weight") + "scale"] = value
        else:
            turned = value.permute(2, 3, 1, 0) if value.ndim == 4 else value.T
            turned = turned.unflatten(0, (heads, -1)) if key.endswith("attn.proj.weight") else turned
            renamed[theirs.removesuffix("weight") + "kernel"] = turned.contiguous()
    return renamed


def convert(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring any known layout into ours, and leave ours as it is: what the registry loads weights with."""
    keys = {_BEGIN.sub("", key) for key in state_dict}
    if "embedding/kernel" in keys:
        return from_official(state_dict)
    if "conv_proj.weight" in keys:
        return from_torchvision(state_dict)
    if any("embeddings.patch_embeddings." in key for key in keys):
        return from_transformers(state_dict)
    return from_timm(state_dict)


def _of_first_code(state_dict: StateDict) -> Iterator[tuple[str, Tensor]]:
    """Yield the arrays of an ``.npz`` under the names that the paper's code gives them, a block at a time."""
    for full_key, value in state_dict.items():
        key = _BEGIN.sub("", full_key)
        for theirs, first in _BIG_VISION:
            key = re.sub(theirs, first, key)
        if key.startswith(_STACKED):
            rest = key.removeprefix(_STACKED)
            yield from ((f"Transformer/encoderblock_{index}/{rest}", item) for index, item in enumerate(value))
        else:
            yield key, value


def _modern(key: str) -> str:
    if key.startswith("classifier."):
        return key
    key = key.removeprefix("vit.")
    for old, new in _OLD_NAMES:
        key = re.sub(old, new, key)
    return f"vit.{key}"


def _renamed(key: str, rules: Rules) -> str:
    """Rename by the first rule that fits."""
    renamed = rename(key, rules)
    if renamed is None:
        raise CheckpointError(f"{key!r} belongs to no Vision Transformer of this layout")
    return renamed
