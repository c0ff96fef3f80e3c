"""Precisions under ZeRO use torch's autocast: parameters, summed gradients and optimizer states stay in float32.

DeepSpeed's own bf16 and fp16 modes are not used: they cast the module and all floats of a batch, even target boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from torch import Tensor, nn

from lab.compat.deepspeed import (
    begins_step,
    collect_gradients,
    ends_accumulation,
    forget_gradients,
    set_loss_scaler,
)
from lab.errors import ConfigError

AUTOCAST = {"32-true": None, "bf16-mixed": "bfloat16", "16-mixed": "float16"}
"""The dtype of matrix products, by Lightning's ``precision``."""


class LossScaler:
    """Scales the loss under ``16-mixed`` as ``torch.amp.GradScaler`` does; replaces deepspeed's own scaler.

    With autocast, deepspeed 0.19.8 clips scaled gradients and never lowers its scale: it skips a step whose gradients
    are not finite without telling the scaler. Here the scale falls at such a step and rises between steps.
    """

    dynamic = True

    def __init__(self, scale: float = 2.0**16, interval: int = 2000) -> None:
        self.cur_scale, self.interval, self.good_steps = scale, interval, 0

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Return the scaled loss of a micro-batch."""
        if self.good_steps == self.interval:
            self.cur_scale, self.good_steps = self.cur_scale * 2, 0
        return loss * self.cur_scale

    def update_scale(self, overflow: bool) -> None:
        """Update the scale after an optimizer step, or after one that was skipped for a gradient that is not finite."""
        self.good_steps = 0 if overflow else self.good_steps + 1
        if overflow:
            self.cur_scale /= 2


class ZeroPrecision(DeepSpeedPrecision):
    """Lightning's DeepSpeed precision, without its casts and its division of the loss.

    Raises:
        ConfigError: the precision does not keep parameters in float32.
    """

    def __init__(self, precision: Any) -> None:
        if precision not in AUTOCAST:
            raise ConfigError(
                f"trainer.precision={precision} does not work under deepspeed: use {', '.join(AUTOCAST)} (or 32)"
            )
        super().__init__(precision)
        self.scaler = LossScaler() if precision == "16-mixed" else None

    @property
    def config(self) -> dict[str, Any]:
        """DeepSpeed's settings for the precision."""
        dtype = AUTOCAST[self.precision]
        return {} if dtype is None else {"torch_autocast": {"enabled": True, "dtype": dtype}}

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Leave the parameters in float32."""
        return module

    def convert_input(self, data: Any) -> Any:
        """Return the batch unchanged: autocast rounds the inputs of matrix products."""
        return data

    def backward(self, tensor: Tensor, model: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Run backward without DeepSpeed's division by the number of micro-batches, which Lightning has done already.

        A loss that is not finite makes every gradient NaN, so that deepspeed skips the step on all ranks.
        """
        tensor = tensor * (tensor.detach() * 0 + 1)
        super().backward(tensor, model, optimizer, *args, scale_wrt_gas=False, **kwargs)

    def optimizer_step(  # type: ignore[override]
        self, optimizer: Any, model: Any, closure: Callable[[], Any], **kwargs: Any
    ) -> Any:
        """Compute a micro-batch, and make the optimizer step after the last micro-batch."""
        engine = model.trainer.model
        if begins_step(engine):
            forget_gradients(engine.optimizer)

        def collecting() -> Any:
            result = closure()
            if ends_accumulation(engine):
                collect_gradients(engine.optimizer)
            return result

        return super().optimizer_step(optimizer, model, collecting, **kwargs)

    def attach(self, zero: Any) -> None:
        """Let deepspeed's optimizer scale the loss, if this precision needs it."""
        if self.scaler is not None:
            set_loss_scaler(zero, self.scaler)

    def state_dict(self) -> dict[str, Any]:
        """Return the scaler's state under the names of ``torch.amp.GradScaler``."""
        if self.scaler is None:
            return {}
        interval = self.scaler.interval
        rates = {"growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": interval}
        return {"scale": self.scaler.cur_scale, **rates, "_growth_tracker": self.scaler.good_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the scale of a checkpoint."""
        if self.scaler is not None:
            self.scaler.cur_scale = float(state_dict["scale"])
            self.scaler.good_steps = int(state_dict["_growth_tracker"])
