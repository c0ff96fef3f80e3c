"""Key names of the authors' PyTorch code (hidasib/GRU4Rec_PyTorch_Official), both ways.

Our keys are theirs. Rows are items in the order in which the authors' data iterator first meets them
(``data_iterator.itemidmap``); the weights are only useful with a dataset that numbers its items in the same way.

``GRU4Rec.savemodel`` of that code pickles the object itself. Opening the file would run its code, so it is refused.
With ``torch.save(gru.model.state_dict(), file)`` that code writes files that can be read here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from lab.errors import CheckpointError

_KEY = re.compile(r"(Wy|By|E)\.weight|G\.\d+\.(weight|bias)_(ih|hh)|GE\.(Wx0\.weight|Wrz0|Wh0|Bh0)")
_PREFIX = "model."


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert ``gru.model.state_dict()``, or one whose keys begin with ``model.``.

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
    """Convert any known layout into ours; ours is not changed. The registry loads weights with this function."""
    prefixed = any(key.startswith(_PREFIX) and _KEY.fullmatch(key.removeprefix(_PREFIX)) for key in state_dict)
    return from_official(state_dict) if prefixed else dict(state_dict)
