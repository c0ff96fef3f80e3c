"""Published checkpoints: NVlabs/FourCastNet, NVlabs/AFNO-transformer and physicsnemo name parameters as we do.

They differ in what is around the names: FourCastNet's training wraps the network and keeps a leftover, physicsnemo has
no last norm and files of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lab.errors import CheckpointError
from lab.models.afno.network import AFNO
from lab.registry.mdlus import write_mdlus

_WRAPPER = "module."
_UNUSED = "ged"


def from_fourcastnet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the ``model_state`` of NVlabs/FourCastNet's checkpoint: names with ``module.``; ``ged`` is left out."""
    bare = {key.removeprefix(_WRAPPER): value for key, value in state_dict.items()}
    return {key: value for key, value in bare.items() if key != _UNUSED}


def to_fourcastnet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the ``model_state`` that NVlabs/FourCastNet's loader takes."""
    return {_WRAPPER + key: value for key, value in state_dict.items()}


def from_physicsnemo(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the state dict of physicsnemo's ``AFNO``; where a network has the unused norm, it keeps its own."""
    return dict(state_dict)


def to_physicsnemo(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into physicsnemo's ``AFNO``, which lacks the unused norm."""
    return {key: value for key, value in state_dict.items() if not key.startswith("norm.")}


def save_physicsnemo(net: AFNO, path: str | Path) -> None:
    """Write a ``.mdlus`` file that physicsnemo reads as its ``AFNO``.

    Args:
        net: a network with what physicsnemo's has.
        path: the file.

    Raises:
        CheckpointError: the network differs in more than numbers.
    """
    block = net.blocks[0]
    mixer = block.get_submodule("filter")
    if net.num_axes != 2 or not block.double_skip or mixer.mode_cut != "height" or mixer.hidden_factor != 1:
        raise CheckpointError("physicsnemo's AFNO is for (H, W), with double_skip, mode_cut=height, hidden_factor=1")
    arguments = {
        "inp_shape": [size * side for size, side in zip(net.grid, net.patch, strict=True)],
        "in_channels": net.in_channels,
        "out_channels": net.out_channels,
        "patch_size": list(net.patch),
        "embed_dim": net.pos_embed.shape[2],
        "depth": len(net.blocks),
        "mlp_ratio": net.mlp_ratio,
        "drop_rate": net.dropout,
        "num_blocks": mixer.w1.shape[1],
        "sparsity_threshold": mixer.sparsity,
        "hard_thresholding_fraction": mixer.keep_modes,
    }
    write_mdlus(Path(path), to_physicsnemo(net.state_dict()), "AFNO", "physicsnemo.models.afno.afno", arguments)


def convert(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring any known layout into ours, and leave ours as it is: what the registry loads weights with."""
    return from_fourcastnet(state_dict)
