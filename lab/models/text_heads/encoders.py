"""Encoders of text by name, and their pretrained weights below a head."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from lab.errors import CheckpointError, ConfigError, closest
from lab.registry.arguments import signature_of
from lab.registry.create import create_model
from lab.registry.models import is_model, list_models, model_entry, model_entrypoint
from lab.registry.weights import unwrap
from lab.structures.text import TextEncoder

logger = logging.getLogger(__name__)
PREFIX = "encoder."


def build_encoder(
    name: str, vocab_size: int, max_length: int | None, dropout: float, pooler: str | None, options: Mapping[str, Any]
) -> Any:
    """Return a registered model that encodes text, without heads of its own.

    Args:
        name: of the model; it must take ``vocab_size``, and be a ``TextEncoder``.
        vocab_size: V.
        max_length: the most tokens of a sequence, for a model that takes it; None: the model's own.
        dropout: for a model that takes it.
        pooler: for a model that takes it; None: the model's own.
        options: further arguments of the model; they win.

    Raises:
        ConfigError: there is no such model, or it is no encoder of text.
    """
    if not is_model(name):
        raise ConfigError(f"encoder={name}: no registered model{closest(name, list_models())}")
    signature = signature_of(model_entrypoint(name))
    taken = signature.arguments if signature is not None else ()
    offered = {"heads": False, "max_length": max_length, "dropout": dropout, "pooler": pooler}
    given = {key: value for key, value in offered.items() if key in taken and value is not None}
    if "vocab_size" not in taken:
        raise ConfigError(f"encoder={name}: it takes no vocab_size, so it is no encoder of text")
    encoder: Any = create_model(name, vocab_size=vocab_size, **{**given, **options})
    if not isinstance(encoder, TextEncoder):
        raise ConfigError(f"encoder={name}: it is no lab.structures.text.TextEncoder")
    return encoder


def adapt_to_encoder(
    net: nn.Module, name: str, state: Mapping[str, Tensor], head: str, others: Collection[str]
) -> dict[str, Tensor]:
    """Return pretrained weights with the keys of a network of encoder and head.

    They may be of such a network, or of the encoder alone, with or without heads of pretraining, which the encoder's
    own ``adapt_weights`` leaves out. A head that they do not have stays new, and that is said.

    Args:
        net: holds the encoder as ``encoder``.
        name: the encoder's registered name.
        state: the weights, in any layout that the encoder's own converter knows.
        head: the name of the net's head, a linear layer.
        others: prefixes of keys that other libraries have in its place; ``output_`` is Google's, whose names end in
            ``weights`` and ``bias``.

    Raises:
        CheckpointError: the encoder's weights do not fit it.
    """
    own = net.state_dict()
    found: dict[str, Tensor] = {}
    rest: dict[str, Tensor] = {}
    names = {f"{prefix}{end}" for prefix in (f"{head}.", *others) for end in ("weight", "weights", "bias")}
    for key, value in state.items():
        if key in names:
            found[f"{head}.{'bias' if key.endswith('bias') else 'weight'}"] = value
        else:
            (found if key in own else rest)[key] = value
    if not any(key.startswith(PREFIX) for key in found):
        found |= {f"{PREFIX}{key}": value for key, value in _of_encoder(net, name, rest).items()}
        rest = {}
    if f"{head}.weight" not in found:
        logger.warning("the weights are of an encoder: %s.* is new, to be trained", head)
        found |= {key: value for key, value in own.items() if key.startswith(f"{head}.")}
    return found | rest


def _of_encoder(net: nn.Module, name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    encoder = net.get_submodule("encoder")
    module, _, function = (model_entry(name).converter or "").rpartition(".")
    convert = getattr(importlib.import_module(module), function) if module else None
    converted = unwrap(state, encoder.state_dict(), convert)
    adapt = getattr(encoder, "adapt_weights", None)
    if not set(converted) & set(encoder.state_dict()):
        raise CheckpointError(f"they hold nothing of a {name}: {', '.join([*state][:4])}")
    return converted if adapt is None else dict(adapt(converted))
