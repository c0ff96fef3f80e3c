"""Which settings work with which strategy; the table in lab/strategies/README.md shows the tested ones. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NO_COMPILE = ("deepspeed", "tensor_parallel", "dp")
_PRECISIONS = {
    "fsdp": ("32", "bf16-mixed", "bf16-true"),
    "tensor_parallel": ("32", "bf16-mixed", "bf16-true"),
    "deepspeed": ("32", "bf16-mixed", "16-mixed"),
}


def conflict(strategy: str, trainer: Mapping[str, Any], num_gpus: int) -> tuple[str, str] | None:
    """Return a setting that cannot be used with a strategy on this machine, or None.

    Args:
        strategy: its name in the config.
        trainer: the group ``trainer``.
        num_gpus: GPUs of this machine.

    Returns:
        The dotted key of the setting, and a text that says why not and what works instead.
    """
    family = "deepspeed" if strategy.startswith("deepspeed") else strategy
    precision = trainer["precision"]
    allowed = _PRECISIONS.get(family)
    if allowed is not None and precision not in allowed:
        return "trainer.precision", f"strategy={strategy} works with {', '.join(allowed)}"
    if precision == "16-mixed" and (trainer["accelerator"] == "cpu" or not num_gpus):
        return "trainer.precision", "float16 needs a GPU; bf16-mixed works on CPUs"
    if trainer["compile"] and family in _NO_COMPILE:
        return "trainer.compile", f"not with strategy={strategy}; single, ddp and fsdp compile"
    return None
