"""ZeRO by DeepSpeed: optimizer states and gradients, and in stage 3 also parameters, are split over the ranks.

Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC 2020. See ``zero.md``
in this folder. Runs on GPUs and, over gloo, on CPUs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch.plugins.precision import Precision
from torch import nn

from lab.checking import check_choice
from lab.compat.deepspeed import (
    environment,
    gradient_norm,
    is_empty,
    load_deepspeed,
    reduce_as_they_come,
    release,
    require_deepspeed,
    share_masters,
    skipped_step,
    start_communication,
)
from lab.compat.lightning import OwnEngineStrategy
from lab.errors import ConfigError
from lab.registry.parallel import units
from lab.strategies.deepspeed_precision import ZeroPrecision
from lab.strategies.deepspeed_state import ZeroState
from lab.strategies.deepspeed_units import gather_before_backward, mark_units
from lab.strategies.sharding import broadcast_network


def has_nccl() -> bool:
    """Whether GPUs will be used, judged before there is a Trainer."""
    if not torch.cuda.is_available():
        return False
    return not dist.is_initialized() or "nccl" in dist.get_backend_config()


LOCAL_RANK = "LOCAL_RANK"


class ZeroStrategy(OwnEngineStrategy):
    """ZeRO stage 2 or 3. An object serves one Trainer: fit and test of a run each make their own.

    Args:
        stage: 2 splits gradients and optimizer states over the ranks, 3 splits parameters too.
        offload_optimizer: keep optimizer states in the host's memory and step there.
        offload_parameters: keep the ranks' parts of the parameters in the host's memory; stage 3 only.
        reduce_bucket_size: gradients are reduced when this many elements have been collected.
        prefetch_bucket_size: the number of parameter elements that are gathered ahead of their use; stage 3 only.
        persistence_threshold: parameters with at most this many elements stay whole on every rank; stage 3 only.
        overlap_comm: communicate while computing, where the device has streams.

    Raises:
        ConfigError: deepspeed is missing, or ``offload_parameters`` without stage 3.
    """

    def __init__(
        self,
        stage: int = 3,
        offload_optimizer: bool = False,
        offload_parameters: bool = False,
        reduce_bucket_size: int = 5_000_000,
        prefetch_bucket_size: int = 10_000_000,
        persistence_threshold: int = 10_000,
        overlap_comm: bool = True,
    ) -> None:
        require_deepspeed()
        check_choice("strategy.stage", stage, (2, 3))
        if offload_parameters and stage != 3:
            raise ConfigError("strategy.offload_parameters=true needs stage=3: in stage 2 parameters are not split")
        zero: dict[str, Any] = {
            "stage": stage,
            "contiguous_gradients": True,
            "reduce_scatter": True,
            "overlap_comm": overlap_comm,
            "reduce_bucket_size": reduce_bucket_size,
            "allgather_bucket_size": reduce_bucket_size,
        }
        if stage == 3:
            zero["stage3_prefetch_bucket_size"] = prefetch_bucket_size
            # With DeepSpeed's default, 1e9, a network of up to half as many elements would stay whole until backward.
            zero["stage3_max_reuse_distance"] = prefetch_bucket_size
            zero["stage3_max_live_parameters"] = prefetch_bucket_size
            zero["stage3_param_persistence_threshold"] = persistence_threshold
        if offload_optimizer:
            zero["offload_optimizer"] = {"device": "cpu"}
        if offload_parameters:
            zero["offload_param"] = {"device": "cpu"}
        config = {
            "train_micro_batch_size_per_gpu": 1,  # for deepspeed's own reports, which are off
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "zero_optimization": zero,
        }
        self._deepspeed = load_deepspeed("cuda" if has_nccl() else "cpu")
        super().__init__(config=config, logging_level=40)
        self.state_access = ZeroState()
        self._attributes: dict[nn.Parameter, frozenset[str]] = {}
        self._sets_rank = False

    def choose_precision(self, plugin: Precision) -> ZeroPrecision:
        """Return the precision that leaves parameters in float32."""
        return ZeroPrecision(plugin.precision)

    @property
    def _precision(self) -> ZeroPrecision:
        plugin = self.precision_plugin
        assert isinstance(plugin, ZeroPrecision)
        return plugin

    def setup_environment(self) -> None:
        """Use the existing process group, on GPUs and CPUs alike."""
        self.setup_accelerator()

    def setup_distributed(self) -> None:
        """Start deepspeed in the process group of the job."""
        reset_seed()
        self.set_world_ranks()
        with self._environment():
            self._deepspeed = load_deepspeed(self.root_device.type)
            start_communication(self._deepspeed)
        if LOCAL_RANK not in os.environ:  # of a lone job; deepspeed reads it in the first forward passes
            os.environ[LOCAL_RANK] = str(self.local_rank)
            self._sets_rank = True

    @contextmanager
    def _environment(self) -> Iterator[None]:
        """Set the environment variables that deepspeed expects from a launcher."""
        ranks = {LOCAL_RANK: self.local_rank, "RANK": self.global_rank, "WORLD_SIZE": self.world_size}
        texts = {name: str(value) for name, value in ranks.items()}
        with environment(texts, without=("OMPI_COMM_WORLD_LOCAL_RANK",)):
            yield

    def own_settings(self) -> dict[str, Any]:
        """Return deepspeed's settings for the precision."""
        return self._precision.config

    @contextmanager
    def model_sharded_context(self) -> Iterator[None]:
        """Do nothing: the network is built whole, with the same weights as on one process, and split afterwards."""
        yield

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Broadcast the network to every rank; in stage 3 split it."""
        broadcast_network(model)
        self._attributes = {parameter: frozenset(vars(parameter)) for parameter in model.parameters()}
        if self.zero_stage_3:
            mark_units(getattr(model, "net", model))
            # Parameters are moved to the device and split there one by one, so no device has to hold all of them.
            # No dtype is given: deepspeed 0.19.8 would turn float32 into bfloat16 on a CPU.
            with self._environment():
                self._deepspeed.zero.Init(module=model, config_dict_or_path=self.config)
        model.to(self.root_device)
        return model

    def _initialize(self, model: nn.Module, config: dict[str, Any], **more: Any) -> tuple[Any, Any]:
        with self._environment():
            engine, optimizer, _, _ = self._deepspeed.initialize(
                args=argparse.Namespace(device_rank=self.local_rank),
                config=config,
                model=model,
                dist_init_required=False,
                **more,
            )
        return engine, optimizer

    def make_engine(self, model: nn.Module, optimizer: Any, lr_scheduler: Any) -> tuple[Any, Any]:
        """Return the engine for a training, with lab's hooks, and deepspeed's optimizer."""
        assert isinstance(self.config, dict)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        engine, zero = self._initialize(
            model, self.config, model_parameters=trained, optimizer=optimizer, lr_scheduler=lr_scheduler
        )
        share_masters(zero)
        if self.zero_stage_3:
            reduce_as_they_come(zero)
            gather_before_backward(model)
        self._precision.attach(zero)
        return engine, zero

    def make_evaluation_engine(self, model: nn.Module) -> Any:
        """Return an engine without an optimizer. In stage 2 nothing is split in that case."""
        assert isinstance(self.config, dict)
        config = {key: value for key, value in self.config.items() if key != "gradient_accumulation_steps"}
        if not self.zero_stage_3:
            del config["zero_optimization"]
        return self._initialize(model, config, model_parameters=[])[0]

    @contextmanager
    def gathered_parameters(self) -> Iterator[None]:
        """Gather the parameters outside of units, for methods that read them without their module's forward pass."""
        net: nn.Module | None = getattr(self.lightning_module, "net", None)
        if not self.zero_stage_3 or net is None:
            yield
            return
        inside = {parameter for unit in units(net) for parameter in unit.parameters()}
        # Small parameters that a forward pass has gathered stay gathered (`stage3_param_persistence_threshold`).
        parameters: list[Any] = [item for item in net.parameters() if item not in inside]
        outside = [item for item in parameters if is_empty(item)]
        with self._deepspeed.zero.GatheredParameters(outside):
            yield

    @property
    def gradient_norm(self) -> float:
        """The norm of all gradients of the last step, before clipping; NaN if deepspeed has none."""
        return gradient_norm(self.model)

    @property
    def skipped_step(self) -> bool:
        """Whether deepspeed skipped the last step, on all ranks, because the gradient norm was not finite."""
        return skipped_step(self.model)

    def on_validation_start(self) -> None:
        """Broadcast rank 0's buffers, which checkpoints hold, before an evaluation; DDP does so at every step."""
        assert self.lightning_module is not None
        for buffer in self.lightning_module.buffers():
            dist.broadcast(buffer, src=0)

    def teardown(self) -> None:
        """Free what deepspeed holds."""
        engine, self.model = self.model, self.lightning_module
        self.optimizers, self.lr_scheduler_configs = [], []
        super().teardown()
        if engine is not self.model and self.model is not None:
            release(engine, self.model, self._attributes)
        self._attributes = {}
        if self._sets_rank:
            os.environ.pop(LOCAL_RANK, None)
