"""Layer-wise decay of the learning rate: the deeper a layer lies below the head, the smaller its rate.

Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022, appendix; the layers are the units that an
architecture names in its ``parallel.py``. A Vision Transformer gets the scales of timm's ``param_groups_layer_decay``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from lab.errors import ConfigError
from lab.registry.parallel import blocks_of

_NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def layer_scales(module: nn.Module, decay: float) -> dict[int, float]:
    """Return by what the learning rate of each parameter is multiplied, by the parameter's ``id``.

    Of L units the n-th gets ``decay ** (L + 1 - n)``, what lies before the first one ``decay ** (L + 1)``, and the
    head 1. If nothing lies behind the last unit, that unit gets 1.

    Args:
        module: the network.
        decay: above 0, at most 1.

    Raises:
        ConfigError: the network has no units.
    """
    layers = layer_numbers(module, f"optimizer.layer_decay={decay:g}", "take 1.0")
    top = max(layers.values())
    return {key: decay ** (top - layer) for key, layer in layers.items()}


def layer_numbers(module: nn.Module, asked: str, instead: str) -> dict[int, int]:
    """Return the layer of each parameter by its ``id``: 0 for the embedding, n for the n-th unit, L + 1 for the head.

    Of the parameters outside of all units those registered after a unit belong to it, those before a unit to that unit;
    norms right behind the last unit belong to it.

    Args:
        module: the network.
        asked: the setting that needs layers, for the error.
        instead: what to set for a network without units, for the error.

    Raises:
        ConfigError: the network has no units.
    """
    units = blocks_of(module)
    if not units:
        raise ConfigError(
            f"{asked}: {type(module).__name__} has no blocks (`blocks` of its module `parallel`), which would be its "
            f"layers; {instead}"
        )
    norms = norm_parameters(module)
    owners = {id(parameter): number for number, unit in enumerate(units, 1) for parameter in unit.parameters()}
    named = dict(module.named_parameters())
    order = [(name, owners.get(id(parameter), 0)) for name, parameter in named.items()]
    return {
        id(parameter): owners.get(id(parameter)) or _layer(name, order, named, len(units), norms)
        for name, parameter in named.items()
    }


def norm_parameters(module: nn.Module) -> set[int]:
    """Return the ``id`` of the parameters of all normalisation layers."""
    return {id(p) for part in module.modules() if isinstance(part, _NORMS) for p in part.parameters(recurse=False)}


def _layer(
    name: str, order: list[tuple[str, int]], named: Mapping[str, Tensor], count: int, norms: Collection[int]
) -> int:
    """Return the layer of a parameter outside of all units: 0 for the embedding, ``count + 1`` for the head.

    It depends on the units in the closest module around the parameter that has any.
    """
    parts, place = name.split("."), next(place for place, (other, _) in enumerate(order) if other == name)
    for depth in reversed(range(len(parts))):
        around = "".join(f"{part}." for part in parts[:depth])
        units = [(other, layer) for other, (key, layer) in enumerate(order) if layer and key.startswith(around)]
        if not units:
            continue
        before = [layer for other, layer in units if other < place]
        if not before:
            first = min(layer for _, layer in units)
            return first if first > 1 else 0
        if max(before) < count:
            return max(before)
        branch = around + parts[depth]
        part = [value for key, value in named.items() if key == branch or key.startswith(f"{branch}.")]
        return count if all(id(value) in norms for value in part) else count + 1
    raise AssertionError(f"{name}: the root is around every unit")
