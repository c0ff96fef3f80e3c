"""Key names of other BERT checkpoints, both ways: transformers' (old and new) and those of Google's TensorFlow code.

``from_<source>(state_dict)`` returns our keys, ``to_<source>(state_dict)`` theirs; tensors are shared, not copied,
except where a fused matrix is split or joined, or a matrix is turned.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lab.errors import CheckpointError
from lab.registry.renaming import Rules, StateDict, beginnings, join_parts, rename, reverse

logger = logging.getLogger(__name__)

# (ours, theirs): prefixes of a key; <n> is the number of a block.
_LAYER = "encoder.layer.<n>"
_ENCODER: Rules = (
    ("embeddings.words.", "embeddings.word_embeddings."),
    ("embeddings.places.", "embeddings.position_embeddings."),
    ("embeddings.types.", "embeddings.token_type_embeddings."),
    ("embeddings.norm.", "embeddings.LayerNorm."),
    ("blocks.<n>.qkv.", f"{_LAYER}.attention.self.qkv."),
    ("blocks.<n>.out_proj.", f"{_LAYER}.attention.output.dense."),
    ("blocks.<n>.attention_norm.", f"{_LAYER}.attention.output.LayerNorm."),
    ("blocks.<n>.fc1.", f"{_LAYER}.intermediate.dense."),
    ("blocks.<n>.fc2.", f"{_LAYER}.output.dense."),
    ("blocks.<n>.feedforward_norm.", f"{_LAYER}.output.LayerNorm."),
    ("pooler.", "pooler.dense."),
)
_HEADS: Rules = (
    ("mlm.dense.", "cls.predictions.transform.dense."),
    ("mlm.norm.", "cls.predictions.transform.LayerNorm."),
    ("mlm.", "cls.predictions."),
    ("nsp.", "cls.seq_relationship."),
)
_PARTS = ("query", "key", "value")
_SPLIT = re.compile(r"(encoder\.layer\.\d+\.attention\.self)\.(query|key|value)\.(weight|bias)")
_OPTIONAL = {"mlm.": "hidden words", "nsp.": "pairs", "pooler.": "the first token"}
_WORDS, _PLACES = "embeddings.words.weight", "embeddings.places.weight"
_DECODER = "cls.predictions.decoder.weight"
_IGNORED = re.compile(r"(bert\.)?embeddings\.(position_ids|token_type_ids)|cls\.predictions\.decoder\.bias")
# Google's names with dots, and transformers' ones.
_GOOGLE = (
    (r"\.layer_(\d+)\.", r".layer.\1."),
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
    (r"\.kernel$", ".weight"),
    (r"embeddings$", "embeddings.weight"),
    (r"output_bias$", "bias"),
    (r"output_weights$", "weight"),
)
_SLOT = re.compile(r".*/(adam_[mv]|lamb_[mv]|Adam(_1)?|LAMBOptimizer(_1)?)|global_step|.*_power|_CHECK.*")


def from_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert a state dict of transformers' ``BertModel``, or of a class with heads, of any version.

    Norms may be called ``gamma`` and ``beta``, as until 2019; keys of the encoder may begin with ``bert.``. Keys of
    other heads are kept.

    Raises:
        CheckpointError: one of queries, keys and values is missing, or the last matrix is not the embeddings.
    """
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state_dict.items():
        if _IGNORED.fullmatch(name):
            continue
        key = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name.removeprefix("bert.")))
        match = _SPLIT.fullmatch(key)
        if match is None:
            found[key] = value
        else:
            parts.setdefault(f"{match[1]}.qkv.{match[3]}", {})[match[2]] = value
    decoder = found.pop(_DECODER, None)
    rules = beginnings(reverse((*_ENCODER, *_HEADS)))
    renamed = {rename(key, rules) or key: value for key, value in (found | join_parts(parts, _PARTS)).items()}
    words = None if decoder is None else renamed.setdefault(_WORDS, decoder)
    # Of shards the shapes come first, and their numbers later.
    if decoder is not None and words is not None and not words.is_meta and not torch.equal(words, decoder):
        raise CheckpointError(f"{_DECODER} is another matrix than the embeddings of the words; here they are one")
    return renamed


def to_transformers(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict for ``BertForPreTraining``; without heads, for ``BertModel``."""
    whole = any(key.startswith("mlm.") for key in state_dict)
    renamed: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        head = rename(key, beginnings(_HEADS))
        theirs = head or f"{'bert.' if whole else ''}{rename(key, beginnings(_ENCODER)) or key}"
        if ".self.qkv." in theirs:
            for part, chunk in zip(_PARTS, value.chunk(3), strict=True):
                renamed[theirs.replace(".qkv.", f".{part}.")] = chunk
        else:
            renamed[theirs] = value
    if whole:
        renamed[_DECODER] = state_dict[_WORDS]
        renamed["cls.predictions.decoder.bias"] = state_dict["mlm.bias"]
    return renamed


def from_google(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert the variables of a checkpoint of google-research/bert, by their names; matrices are turned.

    The optimizer's variables are left out, and counted.

    Raises:
        CheckpointError: one of queries, keys and values is missing.
    """
    found: dict[str, Tensor] = {}
    for name, value in state_dict.items():
        if _SLOT.fullmatch(name):
            continue
        key = name.replace("/", ".")
        for pattern, instead in _GOOGLE:
            key = re.sub(pattern, instead, key)
        found[key] = value.t() if name.endswith("/kernel") else value
    left = len(state_dict) - len(found)
    if left:
        logger.info("%d variables of the optimizer are not read", left)
    return from_transformers(found)


def to_google(state_dict: StateDict) -> dict[str, Tensor]:
    """Return the variables of google-research/bert, by their names."""
    found: dict[str, Tensor] = {}
    for key, value in to_transformers(state_dict).items():
        if key.startswith("cls.predictions.decoder."):
            continue
        name = (key if key.startswith(("bert.", "cls.")) else f"bert.{key}").replace(".", "/")
        name = re.sub(r"/layer/(\d+)/", r"/layer_\1/", name)
        if "LayerNorm" in name:
            name = name.replace("/weight", "/gamma").replace("/bias", "/beta")
        elif name.endswith("embeddings/weight"):
            name = name.removesuffix("/weight")
        elif name in ("cls/predictions/bias", "cls/seq_relationship/bias"):
            name = name.replace("/bias", "/output_bias")
        elif name == "cls/seq_relationship/weight":
            name = name.replace("/weight", "/output_weights")
        elif name.endswith("/weight"):
            name, value = f"{name.removesuffix('weight')}kernel", value.t()
        found[name] = value
    return found


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert any known layout into ours; ours is not changed. The registry loads weights with this function."""
    if _WORDS in state_dict:
        return dict(state_dict)
    if any(key.startswith("bert/") for key in state_dict):
        return from_google(state_dict)
    return from_transformers(state_dict)


def adapt(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights that fit a network: of a longer table of places the first rows, no other heads than it has.

    Args:
        state: the weights, with our keys.
        own: the network's own state.

    Raises:
        CheckpointError: they are of another vocabulary, or of shorter sequences.
    """
    adapted = dict(state)
    words, places = adapted.get(_WORDS), adapted.get(_PLACES)
    if words is not None and words.ndim == 2 and len(words) != len(own[_WORDS]):
        raise CheckpointError(
            f"they are of a vocabulary of {len(words)} tokens, the network has {len(own[_WORDS])}: set data.tokenizer "
            "to the vocab.txt or tokenizer.json that came with them"
        )
    if places is not None and places.ndim == 2 and len(places) != len(own[_PLACES]):
        rows = len(own[_PLACES])
        if len(places) < rows:
            raise CheckpointError(
                f"they are of sequences of up to {len(places)} tokens: set model.asks.max_length={len(places)}, or less"
            )
        logger.info("of the %d rows of the table of places the first %d are taken", len(places), rows)
        adapted[_PLACES] = places[:rows]
    for part, meaning in _OPTIONAL.items():
        has, needs = (any(key.startswith(part) for key in keys) for keys in (adapted, own))
        if needs and not has:
            logger.warning("the weights have no part for %s (%s*): it is new, to be trained", meaning, part)
            adapted |= {key: value for key, value in own.items() if key.startswith(part)}
        elif has and not needs:
            logger.info("the part of the weights for %s (%s*) is left out: the network has none", meaning, part)
            adapted = {key: value for key, value in adapted.items() if not key.startswith(part)}
    return adapted
