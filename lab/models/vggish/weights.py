"""Key names of other checkpoints of VGGish, both ways: TensorFlow's, torchvggish's and torchaudio's.

``from_<source>(state_dict)`` returns our keys, ``to_<source>(state_dict)`` theirs. Ours are torchvggish's. TensorFlow
has the axes of weights in another order; the map is flattened alike, so that matrices are turned and no more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from torch import Tensor

from lab.registry.renaming import Rules, StateDict, beginnings, rename, reverse

logger = logging.getLogger(__name__)
_LAYERS = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3/conv3_1": "features.6",
    "conv3/conv3_2": "features.8",
    "conv4/conv4_1": "features.11",
    "conv4/conv4_2": "features.13",
    "fc1/fc1_1": "embeddings.0",
    "fc1/fc1_2": "embeddings.2",
    "fc2": "embeddings.4",
}
_SCOPE = "vggish/"
_OF_SCOPE = {ours: theirs for theirs, ours in _LAYERS.items()}
_SLOT = re.compile(r".*/(Adam(_1)?|Momentum)|global_step|.*_power|_CHECK.*")
_TORCHAUDIO: Rules = beginnings((("features.", "features_network."), ("embeddings.", "embedding_network.")))
PCA = "pproc."
"""Keys of the PCA in torchvggish's whole module (``lab.models.vggish.postprocess``)."""


def from_tensorflow(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert the variables of the authors' TensorFlow code, by their names.

    The optimizer's variables are left out, and counted; those of other layers (a classifier) are kept as they are.
    """
    found: dict[str, Tensor] = {}
    left = 0
    for name, value in state_dict.items():
        layer, _, kind = name.removeprefix(_SCOPE).rpartition("/")
        if _SLOT.fullmatch(name):
            left += 1
        elif name.startswith(_SCOPE) and layer in _LAYERS and kind in ("weights", "biases"):
            found[f"{_LAYERS[layer]}.{'weight' if kind == 'weights' else 'bias'}"] = _turned(value)
        else:
            found[name] = value
    if left:
        logger.info("%d variables of the optimizer are not read", left)
    return found


def to_tensorflow(state_dict: StateDict) -> dict[str, Tensor]:
    """Return the variables of the authors' TensorFlow code, by their names; keys of other parts stay as they are."""
    found: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        layer, _, kind = key.rpartition(".")
        if layer in _OF_SCOPE:
            name = f"{_SCOPE}{_OF_SCOPE[layer]}/{'weights' if kind == 'weight' else 'biases'}"
            found[name] = value.permute(2, 3, 1, 0) if value.ndim == 4 else value.t() if value.ndim == 2 else value
        else:
            found[key] = value
    return found


def _turned(value: Tensor) -> Tensor:
    """Return a kernel (h, w, in, out) as (out, in, h, w), a matrix (in, out) as (out, in)."""
    if value.ndim == 4:
        return value.permute(3, 2, 0, 1)
    return value.t() if value.ndim == 2 else value


def from_torchaudio(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert the state dict of torchaudio's pipeline."""
    return {rename(key, reverse(_TORCHAUDIO)) or key: value for key, value in state_dict.items()}


def to_torchaudio(state_dict: StateDict) -> dict[str, Tensor]:
    """Return a state dict for torchaudio's pipeline."""
    return {rename(key, _TORCHAUDIO) or key: value for key, value in state_dict.items()}


def convert(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert any known layout into ours; ours is not changed. The registry loads weights with this function."""
    if any(key.startswith(_SCOPE) for key in state_dict):
        return from_tensorflow(state_dict)
    return from_torchaudio(state_dict)


def adapt(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights that fit a network: without the PCA of torchvggish's module, with a new classifier if need be.

    Args:
        state: the weights, with our keys.
        own: the network's own state.
    """
    adapted = {key: value for key, value in state.items() if not key.startswith(PCA)}
    if len(adapted) < len(state):
        logger.info("the PCA of the weights (%s*) is left out: give it by eval.pca", PCA)
    head = {key: value for key, value in own.items() if key.startswith("classifier.")}
    if head and not any(key.startswith("classifier.") for key in state):
        logger.warning("the weights are of embeddings: classifier.* is new, to be trained")
        adapted |= head
    return adapted
