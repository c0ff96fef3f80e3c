"""What torch's counter of floating-point operations gets wrong, counted right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch


def convolution_backward(
    gradient: Sequence[int],
    x: Sequence[int],
    weight: Sequence[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    wanted: Sequence[bool],
    **_: Any,
) -> int:
    """Return the operations of the gradients of a convolution: for input and weight those of the convolution itself.

    torch counts the weight's gradient as if each channel met all others, also where ``groups`` keeps them apart: for a
    3x3 of each channel by itself hundreds of times too many.
    """
    places = math.prod((x if transposed else gradient)[2:])
    return 2 * x[0] * places * math.prod(weight) * sum(wanted[:2])


FORMULAS = {torch.ops.aten.convolution_backward: convolution_backward}
"""What ``FlopCounterMode`` takes as ``custom_mapping``."""
