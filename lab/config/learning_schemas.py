"""The schemas of optimizers and schedules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from lab.config.value_types import Above0, Beta, Bool, Float, PartAbove0, Rate, Strict, Text, WholeAbove0, WholeFrom0


class ParameterGroup(Strict):
    """Parameters whose name contains a match of ``pattern`` (a regular expression) train with these settings."""

    pattern: Text
    lr: Rate | None = None
    weight_decay: Rate | None = None


class Optimizer(Strict):
    """The settings of every optimizer."""

    lr: Annotated[Float, Field(ge=0, le=3e38)]  # the largest float32; a rate that is too large diverges
    weight_decay: Annotated[Float, Field(ge=0, le=1000)]
    no_decay_norm_bias: Bool
    groups: list[ParameterGroup]
    layer_decay: PartAbove0 = 1.0


class AdamConfig(Optimizer):
    """Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019)."""

    name: Literal["adam", "adamw"]
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)]  # a list in YAML
    eps: Above0
    decay_last: Bool = False  # adamw: weights decay after the step, not before it


class SGDConfig(Optimizer):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    momentum: Beta
    nesterov: Bool

    @field_validator("nesterov")
    @classmethod
    def _has_momentum(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("momentum", 1):
            raise ValueError("needs optimizer.momentum above 0")
        return value


class AdagradConfig(Optimizer):
    """Adagrad (Duchi et al., 2011) with momentum; of an embedding only the rows used in the step are updated."""

    name: Literal["adagrad"]
    momentum: Beta
    eps: Above0


class BertAdamConfig(Optimizer):
    """BERT's Adam: no bias correction, decoupled weight decay (Devlin et al., 2019)."""

    name: Literal["bert"]
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)]
    eps: Above0


class LambConfig(Optimizer):
    """LAMB (You et al., 2020)."""

    name: Literal["lamb"]
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)]
    eps: Above0
    adapt_all: Bool  # false: parameters without weight decay step as in Adam


class Scheduler(Strict):
    """The settings of every schedule: a linear warm-up from 0, counted in optimizer steps."""

    warmup_steps: WholeFrom0


class ConstantConfig(Scheduler):
    """The peak rate throughout."""

    name: Literal["constant"]


class StepConfig(Scheduler):
    """Times ``gamma`` every ``step_size`` steps."""

    name: Literal["step"]
    step_size: WholeAbove0
    gamma: Rate


class MultiStepConfig(Scheduler):
    """Times ``gamma`` at each milestone."""

    name: Literal["multistep"]
    milestones: list[WholeAbove0]
    gamma: Rate
    warmup_power: Above0 = 1.0  # 4: darknet's burn-in


class CosineConfig(Scheduler):
    """Half a cosine from the peak to ``min_factor`` of it at the last step."""

    name: Literal["cosine"]
    min_factor: Annotated[Float, Field(ge=0, le=1)]
    stairs: WholeFrom0 = 0  # falls in so many equal parts of the training, from its first step on; 0: at every step
    warmup_from: Annotated[Float, Field(ge=0, lt=1)] = 0.0  # share of the rate at the first step of the warm-up


class PolyConfig(Scheduler):
    """``(1 - t) ** power`` of the peak, from the end of the warm-up to the last step."""

    name: Literal["poly"]
    power: Above0
    min_factor: Annotated[Float, Field(ge=0, le=1)]


class BertScheduleConfig(Scheduler):
    """Linear from the peak at step 0 to 0 at the last step; the warm-up stands in place of its beginning."""

    name: Literal["bert"]
    jump: Bool  # false: it falls from the end of the warm-up
