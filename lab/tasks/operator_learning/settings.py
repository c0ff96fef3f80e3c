"""Settings of the evaluation, the loss and the rollout of operators on fields. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from lab.config.kinds import Asks, EvalSettings, Learning, TaskSettings
from lab.config.value_types import Bool, Int, Strict, WholeAbove0, WholeFrom0


class OperatorLearningEval(EvalSettings):
    """How forecasts are measured.

    Attributes:
        monitor: the metric that selects best.ckpt.
        rmse: ``pooled``: the root of the mean over all samples; ``samples``: the mean of each sample's root.
        spectra: whether a test compares the spectra of prediction and truth.
    """

    name: Literal["operator_learning"]
    monitor: Literal["relative_l2", "loss"]
    rmse: Literal["pooled", "samples"]
    spectra: Bool


class OperatorLearningAsks(Asks):
    """What an operator asks of its data.

    Attributes:
        dims: the axes of the grid, where the data is generated: 1 for series, 2 for fields.
    """

    dims: Literal[1, 2] | None = None


class OperatorLearning(Learning):
    """The loss of an operator.

    Attributes:
        loss: of a step, over normalised fields: ``relative_l2``, the norm of the error by that of the truth, as
            FourCastNet; ``mse`` or ``mae``, a mean over all points.
        steps: steps of a rollout in training; the loss is the sum of theirs (FourCastNet's second stage: 2).
        predicts: whether the network gives the next state, or what is added to the present one.
        weigh_latitudes: whether the loss weighs points by the cosine of their latitude.
    """

    loss: Literal["relative_l2", "mse", "mae"] = "relative_l2"
    steps: Annotated[Int, Field(gt=0, le=1000)] = 1
    predicts: Literal["state", "change"] = "state"
    weigh_latitudes: Bool = False


class RolloutSettings(Strict):
    """What ``stage=predict`` writes: the group ``rollout``, which only this kind has.

    Attributes:
        steps: steps from each initial state; a steady problem has one.
        format: ``netcdf`` (needs xarray), ``npz``, or ``auto``: NetCDF where xarray is installed.
        pictures: so many initial states get an animation, or a picture where nothing moves.
        frames_per_second: of the animations.
    """

    steps: Annotated[Int, Field(gt=0, le=100_000)]
    format: Literal["auto", "netcdf", "npz"]
    pictures: WholeFrom0
    frames_per_second: WholeAbove0


def conflict(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return why the data does not suit the rollout of the training, or None."""
    steps = config["model"].get("learning", {}).get("steps", 1)
    given = config["data"].get("train_steps")
    if config["stage"] == "fit" and isinstance(given, int) and isinstance(steps, int) and given < steps:
        return "data.train_steps", (
            f"the loss is over {steps} steps (model.learning.steps), and a training sample has {given}; leave "
            "data.train_steps out, or make it as large"
        )
    return None


SETTINGS = TaskSettings(
    OperatorLearningEval,
    OperatorLearningAsks,
    from_data=("image_size", "in_channels", "out_channels"),
    conflict=conflict,
    learning=OperatorLearning,
    groups={"rollout": RolloutSettings},
)
