"""The schema of each config group: names, types and ranges.

A resolved config is a plain dict that ``ConfigSchema.model_validate`` accepts. ``net`` and ``data`` carry the arguments
of a class named by ``_target_``; those are checked against its signature in ``lab.config.signatures``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lab.config.learning_schemas import (
    AdagradConfig,
    AdamConfig,
    BertAdamConfig,
    BertScheduleConfig,
    ConstantConfig,
    CosineConfig,
    LambConfig,
    MultiStepConfig,
    PolyConfig,
    SGDConfig,
    StepConfig,
)
from lab.config.value_types import (
    STRICT,
    Above0,
    Bool,
    Float,
    Int,
    PartAbove0,
    Processes,
    Rate,
    Strict,
    TargetConfig,
    Text,
    WholeAbove0,
    WholeFrom0,
    as_text,
    truth,
)


def _no_weights(value: Any) -> Any:
    return None if truth(value) is False else truth(value)


class ModelConfig(Strict):
    """An architecture and the kind of problem it solves."""

    name: Text
    task: Text
    net: TargetConfig
    pretrained: Annotated[Literal[True] | Text | None, BeforeValidator(_no_weights)] = None  # true: the first tag
    # Settings for its data, and how it learns: the kind of problem defines the keys (lab.config.kinds).
    asks: dict[str, Any] = Field(default_factory=dict)
    learning: dict[str, Any] = Field(default_factory=dict)
    # Short for model.net.loss, if the architecture has several losses.
    loss: Text | None = None


class DataConfig(TargetConfig):
    """A dataset; its other keys are the arguments of its target."""

    name: Text
    tasks: list[Text]
    batch_size: WholeAbove0
    num_workers: Processes = 0
    root: Text | None = None
    requires: list[Text | None] = Field(default_factory=list)  # null entries are not needed
    how_to_get: str = ""
    preprocessing: Text | None = None  # model, data or a tag of pretrained weights (lab.launch.weights)


class TrainerConfig(Strict):
    """How long, where and in which precision; steps are optimizer steps."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Annotated[Int, Field(gt=0, le=1024)]  # on each machine
    num_nodes: Annotated[Int, Field(gt=0, le=100_000)]
    # YAML reads 32 as a number
    precision: Annotated[Literal["32", "16-mixed", "bf16-mixed", "bf16-true", "64"], BeforeValidator(as_text)]
    max_steps: WholeAbove0 | None
    max_epochs: WholeAbove0 | None
    val_every_n_steps: WholeAbove0 | None
    log_every_n_steps: WholeAbove0
    checkpoint_every_n_steps: WholeAbove0 | None
    accumulate_grad_batches: WholeAbove0
    gradient_clip_val: Above0 | None
    on_nonfinite: Literal["stop", "skip"]
    max_skips: WholeAbove0
    deterministic: Bool
    threads: Literal["auto"] | Annotated[Int, Field(gt=0, le=1024)]
    compile: Literal["inductor", "aot_eager"] | None


class SingleConfig(Strict):
    """One process on one device."""

    name: Literal["single"]


class DDPConfig(Strict):
    """Every rank holds the whole model."""

    name: Literal["ddp"]
    static_graph: Bool
    find_unused_parameters: Bool
    bucket_cap_mb: WholeAbove0
    gradient_as_bucket_view: Bool
    communication: Literal["bf16", "fp16"] | None


class FSDPConfig(Strict):
    """Parameters, gradients and optimizer states are split over the ranks by torch."""

    name: Literal["fsdp"]
    reduce_dtype: Annotated[Literal["32", "bf16"], BeforeValidator(as_text)]
    cpu_offload: Bool
    activation_checkpointing: Bool
    reshard_after_forward: Bool | WholeAbove0


class ZeroConfig(Strict):
    """Optimizer states, gradients and (stage 3) parameters are split over the ranks by DeepSpeed."""

    name: Literal["deepspeed_zero2", "deepspeed_zero3", "deepspeed_zero2_offload", "deepspeed_zero3_offload"]
    stage: Literal[2, 3]
    offload_optimizer: Bool
    offload_parameters: Bool
    reduce_bucket_size: WholeAbove0
    prefetch_bucket_size: WholeFrom0
    persistence_threshold: WholeFrom0
    overlap_comm: Bool


class TensorParallelConfig(Strict):
    """Each layer's matrices are split over the ranks of a group."""

    name: Literal["tensor_parallel"]
    tensor_parallel_size: WholeAbove0 | None


class DataParallelConfig(Strict):
    """One process, a thread for each device."""

    name: Literal["dp"]


class AutoConfig(Strict):
    """The planner picks the strategy."""

    name: Literal["auto"]
    memory_gib: Above0 | None


class WandbConfig(Strict):
    """One W&B run for each run directory."""

    project: Text
    mode: Literal["auto", "online", "offline", "disabled"]
    name: Text | None
    notes: Text | None
    group: Text | None
    job_type: Text | None
    tags: list[Text]
    media: WholeFrom0
    system_interval: Annotated[Float, Field(ge=1)] | None


class TensorBoardConfig(Strict):
    """TensorBoard's event files, in the run directory; there is nothing to set."""


class MlflowConfig(Strict):
    """One MLflow run for each run directory."""

    experiment: Text
    tracking_uri: Text | None  # null: MLFLOW_TRACKING_URI, else the folder mlflow of paths.runs_dir
    tags: dict[Text, Text]


class LoggerConfig(Strict):
    """Where metrics go besides metrics.csv."""

    wandb: WandbConfig | None = None
    tensorboard: TensorBoardConfig | None = None
    mlflow: MlflowConfig | None = None


class EmaConfig(Strict):
    """Exponential moving average of the weights."""

    decay: Annotated[Float, Field(gt=0, lt=1)]
    start: WholeFrom0 = 0
    warmup: Bool = True  # a smaller decay in the beginning


class EarlyStoppingConfig(Strict):
    """Stop when the task's monitored metric has not improved in ``patience`` validations in a row."""

    patience: WholeAbove0
    min_delta: Rate = 0.0
    start: WholeFrom0 = 0


class UnfreezeStage(Strict):
    """From this optimizer step, or the beginning of this epoch, these modules train too."""

    step: WholeAbove0 | None = None
    epoch: WholeAbove0 | None = None
    train: Annotated[list[Text], Field(min_length=1)]

    @model_validator(mode="after")
    def _begins_once(self) -> UnfreezeStage:
        if (self.step is None) == (self.epoch is None):
            raise ValueError("needs either step or epoch, where it begins")
        return self


class UnfreezeConfig(Strict):
    """Train a part of the network, and more of it later."""

    train: Annotated[list[Text], Field(min_length=1)]
    stages: list[UnfreezeStage] = Field(default_factory=list)
    every: WholeAbove0 | None = None

    @model_validator(mode="after")
    def _goes_one_way(self) -> UnfreezeConfig:
        if self.stages and self.every is not None:
            raise ValueError("takes stages or every (a layer after each so many steps), not both")
        return self


class CallbacksConfig(Strict):
    """The callbacks of a training."""

    ema: EmaConfig | None
    early_stopping: EarlyStoppingConfig | None = None
    unfreeze: UnfreezeConfig | None = None
    progress: Bool
    pictures: WholeFrom0


class DebugConfig(Strict):
    """Short runs for debugging. A float limit is a share of the batches, an int their number."""

    max_steps: WholeAbove0 | None
    limit_train_batches: WholeAbove0 | PartAbove0 | None
    limit_eval_batches: WholeAbove0 | PartAbove0 | None
    overfit_batches: WholeFrom0
    profile: Bool


class PathsConfig(Strict):
    """Folders for data, runs and weights."""

    runs_dir: Text
    data_dir: Text
    weights_dir: Text


class Expected(Strict):
    """The expected result of a recipe: ``metric`` may be worse than ``value`` by ``tolerance`` at most.

    The task defines whether lower or higher is worse. With ``two_sided`` it may not be better by more than that either.
    """

    metric: Text
    value: Float
    tolerance: Rate
    two_sided: Bool = False


class EvalConfig(BaseModel):
    """How the model is measured; the kind of problem defines the other keys (``lab.config.kinds``)."""

    model_config = ConfigDict(extra="allow", **STRICT)
    name: Text


_CHOSEN_BY = {"eval": "name", "data": "_target_", "strategy": "name", "optimizer": "name", "scheduler": "name"}


class ConfigSchema(Strict):
    """The whole resolved configuration of a run."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]  # not a string, like data.seed, which has the same value
    stage: Literal["fit", "validate", "test", "predict"]
    ckpt: Text | None
    input: Text | None
    check: Bool
    resume: Text
    extensions: list[Text]
    paths: PathsConfig
    model: ModelConfig
    data: DataConfig
    trainer: TrainerConfig
    strategy: Annotated[
        SingleConfig | DDPConfig | FSDPConfig | ZeroConfig | TensorParallelConfig | DataParallelConfig | AutoConfig,
        Field(discriminator="name"),
    ]
    optimizer: Annotated[
        AdamConfig | SGDConfig | AdagradConfig | BertAdamConfig | LambConfig, Field(discriminator="name")
    ]
    scheduler: Annotated[
        ConstantConfig | StepConfig | MultiStepConfig | CosineConfig | PolyConfig | BertScheduleConfig,
        Field(discriminator="name"),
    ]
    logger: LoggerConfig
    callbacks: CallbacksConfig
    debug: DebugConfig
    eval: EvalConfig
    expected: Expected | None = None

    @model_validator(mode="before")
    @classmethod
    def _group_is_chosen(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for group in ("model", "data", "trainer", "strategy", "optimizer", "scheduler", "eval"):
                node = value.get(group)
                key = _CHOSEN_BY.get(group)  # a model may set numbers of the group although no option is chosen
                if node is None or (key is not None and isinstance(node, dict) and key not in node):
                    raise ValueError(f"no {group} is chosen: add {group}=NAME")
        return value
