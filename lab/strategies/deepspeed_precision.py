"""The precisions of a run under ZeRO, by torch's autocast: parameters, gradient sums and states stay in float32.

DeepSpeed's own bf16 and fp16 modes cast the module and every floating point number of a batch, the targets' boxes too.
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
"""What products are computed in, by Lightning's ``precision``."""


class LossScaler:
    """Scales the loss of ``16-mixed`` as ``torch.amp.GradScaler`` does, in the place of deepspeed's own scaler.

    With autocast, deepspeed 0.19.8 clips scaled gradients, and lowers its scale never: a step whose gradients are not
    finite is skipped before the scaler is told. Here the scale falls at such a step, and rises between two steps.
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
        """Take note of an optimizer step, or of one skipped because a gradient was not finite."""
        self.good_steps = 0 if overflow else self.good_steps + 1
        if overflow:
            self.cur_scale /= 2


class ZeroPrecision(DeepSpeedPrecision):
    """Lightning's DeepSpeed precision, but for what it casts and divides.

    Raises:
        ConfigError: a precision without float32 parameters.
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
        """DeepSpeed's settings of the precision."""
        dtype = AUTOCAST[self.precision]
        return {} if dtype is None else {"torch_autocast": {"enabled": True, "dtype": dtype}}

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Leave the parameters in float32."""
        return module

    def convert_input(self, data: Any) -> Any:
        """Leave the batch as it is: autocast rounds what goes into a product."""
        return data

    def backward(self, tensor: Tensor, model: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Propagate back; Lightning has divided by the number of micro-batches, DeepSpeed would do it again.

        A loss that is not finite makes every gradient NaN, so that deepspeed skips the step on all ranks.
        """
        tensor = tensor * (tensor.detach() * 0 + 1)
        super().backward(tensor, model, optimizer, *args, scale_wrt_gas=False, **kwargs)

    def optimizer_step(  # type: ignore[override]
        self, optimizer: Any, model: Any, closure: Callable[[], Any], **kwargs: Any
    ) -> Any:
        """Compute a micro-batch, and step after the last one of a step."""
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
