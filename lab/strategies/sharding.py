"""The common base of FSDP and tensor parallelism: shards a network by units and serves Lightning's hooks.

Both keep the parameters of ``lightning_module.net`` as DTensors between optimizer steps. The LightningModule is not
involved: the strategy splits the network, after it was built whole on every rank.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from lab.compat.lightning import SplittingStrategy, set_device
from lab.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

REDUCE_DTYPES = {"32": torch.float32, "bf16": torch.bfloat16}
ENTRANCES = ("encode", "fill", "generate", "logits")
"""Methods that evaluation and prediction call instead of ``forward``. (A recommender's ``score`` comes after its
``encode`` and finds everything gathered.)"""


def broadcast_network(net: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0, as DDP does, so that all shards are of one network."""
    for tensor in [*net.parameters(), *net.buffers()]:
        dist.broadcast(tensor.detach(), src=0)


def mixed_precision(net: nn.Module, precision: str, reduce_dtype: str) -> MixedPrecisionPolicy:
    """Return FSDP's policy under Lightning's ``precision``.

    Under ``bf16-mixed`` Lightning's autocast still decides which operation uses which precision, as on one process. The
    policy rounds matrices that autocast would round in each layer already before they are gathered. That halves the
    traffic and saves backward a rounded copy of them. Inputs are not cast.

    Args:
        net: the network, not sharded yet.
        precision: ``32-true``, ``bf16-mixed``, ``bf16-true`` or ``64-true``.
        reduce_dtype: the dtype in which gradients are summed: ``32`` (at least float32) or ``bf16``.

    Raises:
        ConfigError: ``16-mixed``, whose gradient scaler would have to be synchronised over the shards.
    """
    if precision == "16-mixed":
        raise ConfigError("trainer.precision=16-mixed cannot scale gradients that are sharded: use bf16-mixed")
    reduce = REDUCE_DTYPES[reduce_dtype] if precision.startswith("bf16") or reduce_dtype != "32" else None
    per_parameter = "param_dtype_override_fn" in {field.name for field in fields(MixedPrecisionPolicy)}
    if precision != "bf16-mixed" or not per_parameter:  # before torch 2.15 matrices are gathered as they are
        return MixedPrecisionPolicy(reduce_dtype=reduce, cast_forward_inputs=False)
    tables = {id(module.weight) for module in net.modules() if isinstance(module, nn.Embedding)}

    def keep(parameter: nn.Parameter) -> torch.dtype | None:
        return parameter.dtype if parameter.ndim < 2 or id(parameter) in tables else None

    return MixedPrecisionPolicy(
        param_dtype=torch.bfloat16, reduce_dtype=reduce, cast_forward_inputs=False, param_dtype_override_fn=keep
    )


class ShardedStrategy(SplittingStrategy):
    """Base of the strategies that split ``lightning_module.net`` into DTensors.

    A subclass implements ``parallelize``.

    Args:
        reduce_dtype: see ``mixed_precision``.
        cpu_offload: keep parameters, gradients and optimizer states in host memory between their uses.
        reshard_after_forward: see ``fully_shard``.
        reduce_once: see ``FSDPStrategy``.
    """

    def __init__(
        self,
        reduce_dtype: str = "32",
        cpu_offload: bool = False,
        reshard_after_forward: bool | int = True,
        reduce_once: bool = False,
    ) -> None:
        super().__init__()
        self.reduce_dtype, self.cpu_offload = reduce_dtype, cpu_offload
        self.reshard_after_forward, self.reduce_once = reshard_after_forward, reduce_once

    @property
    def net(self) -> nn.Module:
        """The network, which the strategy splits."""
        net = getattr(self.lightning_module, "net", None)
        if not isinstance(net, nn.Module):
            raise ConfigError(f"{type(self.lightning_module).__name__} has no network `net` that could be sharded")
        return net

    @property
    def data_mesh(self) -> DeviceMesh:
        """The ranks that see different samples."""
        return self.device_mesh["data_parallel"]

    @property
    def num_data_ranks(self) -> int:
        """The number of ranks that see different samples; their parts of a loss are averaged."""
        return self.data_mesh.size()

    def tensor_size(self) -> int:
        """Return how many ranks share each sample."""
        return 1

    @abstractmethod
    def parallelize(self, net: nn.Module) -> None:
        """Split the network, whose parameters are plain tensors on the CPU or the device."""

    def setup_environment(self) -> None:
        """Arrange the ranks in a mesh (data, tensor)."""
        size = self.tensor_size()
        self.lay_out(self.world_size // size, size)
        super().setup_environment()

    def model_to_device(self) -> None:
        """Move everything but the network. The network is moved unit by unit, so no device has to hold all of it."""
        assert self.lightning_module is not None
        for child in self.lightning_module.children():
            if child is not self.net:
                child.to(self.root_device)
        set_device(self.lightning_module, self.root_device)

    def split_model(self, model: nn.Module) -> nn.Module:
        """Split the network, unless an earlier stage of this Trainer has done so."""
        if any(isinstance(parameter, DTensor) for parameter in self.net.parameters()):
            return model
        check_shapes(self.net)
        broadcast_network(self.net)
        self.parallelize(self.net)
        return model

    def shard(self, net: nn.Module, parts: list[nn.Module]) -> None:
        """Apply ``fully_shard`` to each part and to the whole network, over the ranks that see different samples."""
        size, after_forward = self.num_data_ranks, self.reshard_after_forward
        if not isinstance(after_forward, bool) and not (1 < after_forward < size and size % after_forward == 0):
            raise ConfigError(
                f"strategy.reshard_after_forward={after_forward} should be true, false, or a divisor of the {size} "
                "ranks between them"
            )
        if self.cpu_offload and self.root_device.type == "cpu":
            raise ConfigError("strategy.cpu_offload=true on a CPU: there is no other memory to move to, leave it out")
        options: dict[str, Any] = {
            "mesh": self.data_mesh,
            "mp_policy": mixed_precision(net, self.precision_plugin.precision, self.reduce_dtype),
            "offload_policy": CPUOffloadPolicy() if self.cpu_offload else OffloadPolicy(),
        }
        for part in parts:
            fully_shard(part, reshard_after_forward=after_forward, **options)
        # Backward begins where forward ended: parameters outside of units, used throughout, stay gathered in between.
        fully_shard(net, reshard_after_forward=None if after_forward else False, **options)
        for name in ENTRANCES:
            if hasattr(net, name):
                register_fsdp_forward_method(net, name)

    def sharded_modules(self) -> Iterator[FSDPModule]:
        """Yield the units."""
        for module in self.net.modules():
            if isinstance(module, FSDPModule):
                yield module

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Delay the reduction of gradients until the last micro-batch of an optimizer step."""
        if not self.reduce_once or not isinstance(self.net, FSDPModule):
            yield
            return
        self.net.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.net.set_requires_gradient_sync(True)

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        """Free gathered parameters after a forward pass: without a backward pass nothing else frees them."""
        try:
            yield
        finally:
            for module in self.sharded_modules():
                module.reshard()

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Validate on a batch."""
        with self._evaluation():
            return super().validation_step(*args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Test on a batch."""
        with self._evaluation():
            return super().test_step(*args, **kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Predict a batch."""
        with self._evaluation():
            return super().predict_step(*args, **kwargs)


def check_shapes(net: nn.Module) -> None:
    """Raise a ``ConfigError`` that names a parameter without dimensions, which cannot be split."""
    for name, parameter in net.named_parameters():
        if parameter.ndim == 0:
            raise ConfigError(f"parameter {name} has no dimension to be sharded along: give it the shape (1,)")
