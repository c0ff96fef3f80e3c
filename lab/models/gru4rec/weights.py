"""Key names of the authors' PyTorch code (hidasib/GRU4Rec_PyTorch_Official), both ways.

Ours are theirs. Items are rows in the order in which the authors' data iterator first meets them
(``data_iterator.itemidmap``); a network is only useful with a dataset that numbers its items alike.

``GRU4Rec.savemodel`` of that code pickles the object itself, which only running its code can open; such a file is
refused. There, ``torch.save(gru.model.state_dict(), file)`` writes what is read here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from lab.errors import CheckpointError

_KEY = re.compile(r"(Wy|By|E)\.weight|G\.\d+\.(weight|bias)_(ih|hh)|GE\.(Wx0\.weight|Wrz0|Wh0|Bh0)")
_PREFIX = "model."


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take ``gru.model.state_dict()``, or one whose keys begin with ``model.``.

    Raises:
        CheckpointError: a key belongs to no GRU4Rec.
    """
    renamed = {key.removeprefix(_PREFIX): value for key, value in state_dict.items()}
    wrong = next((key for key in renamed if not _KEY.fullmatch(key)), None)
    if wrong is not None:
        raise CheckpointError(f"{wrong!r} belongs to no GRU4Rec of the authors' PyTorch code")
    return renamed


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict that loads strictly into the authors' ``GRU4RecModel``."""
    return dict(state_dict)


def convert(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring any known layout into ours, and leave ours as it is: what the registry loads weights with."""
    prefixed = any(key.startswith(_PREFIX) and _KEY.fullmatch(key.removeprefix(_PREFIX)) for key in state_dict)
    return from_official(state_dict) if prefixed else dict(state_dict)
