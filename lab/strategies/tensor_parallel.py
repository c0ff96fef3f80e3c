"""Tensor parallelism: the matrices of a layer are split over ranks that work on the same samples.

Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism", 2019, section
3: the first matrix of a pair is split by its columns and the second by its rows, so that each pair needs only one sum
over the ranks. An architecture names its pairs in ``tensor_plan`` of its ``parallel`` module, or is made of the layers
of ``lab.layers.tensor_parallel``, which say themselves how they are split and have their own collectives. Either way
the parameters are DTensors between the passes, so that clipping, averages and checkpoints need not know which way it
is. The ranks form a grid (data, tensor): along ``data`` they see different samples and shard parameters as under FSDP.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ParallelStyle, parallelize_module
from torchmetrics import Metric

from lab.checkpoint.access import is_dtensor
from lab.compat.torch import flatten_mesh, own_parameters
from lab.errors import ConfigError
from lab.layers.tensor_parallel.groups import RankGroup
from lab.layers.tensor_parallel.layers import TensorParallel
from lab.registry.parallel import splitting_of, units
from lab.strategies.sharding import ENTRANCES, ShardedStrategy
from lab.structures.parallel import TensorSplitting


class TensorParallelStrategy(ShardedStrategy):
    """Split what an architecture's plan names and what its layers say; every other parameter is replicated.

    All parameters become DTensors of one mesh, also the replicated ones, so that norms for clipping count every element
    once. The ranks of a tensor group must draw the same random numbers, or their replicas would diverge.

    Args:
        tensor_parallel_size: the number of ranks that share samples; None for all ranks of a machine.
    """

    def __init__(self, tensor_parallel_size: int | None = None) -> None:
        super().__init__()
        self.tensor_parallel_size = tensor_parallel_size

    def tensor_size(self) -> int:
        """Return how many ranks share each sample.

        Raises:
            ConfigError: the number of ranks is not divisible by it.
        """
        size = self.tensor_parallel_size or self.num_processes
        if self.world_size % size:
            raise ConfigError(
                f"strategy.tensor_parallel_size={size} does not divide the {self.world_size} ranks of the job"
            )
        return size

    @property
    def tensor_mesh(self) -> DeviceMesh:
        """The ranks that share this rank's samples."""
        return self.device_mesh["tensor_parallel"]

    def parallelize(self, net: nn.Module) -> None:
        """Split the plan's matrices, replicate the rest, and shard both along the data dimension."""
        mesh, plan = self.tensor_mesh, tensor_plan(net)
        join(net, RankGroup.of(mesh.get_group()), plan)
        net.to(self.root_device)
        if plan:
            parallelize_module(net, mesh, plan)
        places = distribute(net, mesh, plan)
        check_parts(net, mesh.size())
        parts = units(net)
        compute_locally([*parts, net], places)
        if self.num_data_ranks > 1:
            flatten_mesh(self.device_mesh, "ranks")
            self.shard(net, parts)

    def split_model(self, model: nn.Module) -> nn.Module:
        """Split the network, and make metrics count each sample of a tensor group once."""
        for module in model.modules():
            if isinstance(module, Metric):  # the ranks of a tensor group count the same samples
                module.process_group = self.data_mesh.get_group()
        return super().split_model(model)


ParameterPlace = tuple[nn.Module, str]
"""The place of a parameter: its module and its name there."""


def tensor_plan(net: nn.Module) -> dict[str, ParallelStyle]:
    """Return the ``tensor_plan`` of a network's architecture: names of modules, and how each is split.

    Raises:
        ConfigError: the architecture has none.
    """
    splitting = splitting_of(net)
    if not isinstance(splitting, TensorSplitting):
        raise ConfigError(
            f"strategy=tensor_parallel: {type(net).__name__} has no plan for it (`tensor_plan` in a module "
            "`parallel` beside the network); strategy=fsdp needs none"
        )
    return splitting.tensor_plan(net)


def check_parts(net: nn.Module, size: int) -> None:
    """Raise a ``ConfigError`` that names a matrix of the plan that ``size`` ranks cannot share equally."""
    for name, parameter in net.named_parameters():
        if isinstance(parameter, DTensor):
            for placement in parameter.placements:
                side = parameter.shape[placement.dim] if isinstance(placement, Shard) else 0
                if side % size:
                    raise ConfigError(f"strategy.tensor_parallel_size={size} does not divide {side}, a side of {name}")


def join(net: nn.Module, group: RankGroup, plan: Collection[str]) -> None:
    """Tell the group to the modules that have collectives of their own; those that the plan names are torch's affair.

    Raises:
        ConfigError: the ranks cannot share what a module counts, as heads.
    """
    for name, module in net.named_modules():
        if isinstance(module, TensorParallel) and name not in plan:
            module.join(group)


def distribute(net: nn.Module, mesh: DeviceMesh, plan: Collection[str]) -> list[ParameterPlace]:
    """Turn every parameter that is a plain tensor into a DTensor; shared parameters stay shared.

    Modules that have collectives of their own say how their parameters are split; all others are replicated.

    Returns:
        The places of these parameters.
    """
    made: dict[nn.Parameter, nn.Parameter] = {}
    places = []
    for prefix, module in net.named_modules():
        parts = module.parts() if isinstance(module, TensorParallel) and prefix not in plan else {}
        for name, parameter in own_parameters(module).items():
            if parameter is None or isinstance(parameter, DTensor):
                continue
            if parameter not in made:
                placement = Shard(parts[name]) if name in parts else Replicate()
                whole = distribute_tensor(parameter.detach(), mesh, [placement])
                made[parameter] = nn.Parameter(whole, requires_grad=parameter.requires_grad)
            places.append((module, name))
            own_parameters(module)[name] = made[parameter]
    return places


def compute_locally(parts: list[nn.Module], places: list[ParameterPlace]) -> None:
    """Make parameters plain tensors, the rank's own part, during the forward pass of the part that they belong to.

    Each rank computes with its own replica or part, whatever the network does with a parameter, and gets its gradient
    whole: activations between the split pairs are the same on all ranks, and so are their gradients.

    Args:
        parts: the parts of a network, inner ones first, the network itself last.
        places: the places of the parameters, as ``distribute`` returns them.
    """
    left = list(places)
    for part in parts:
        inside = set(part.modules())
        own = [place for place in left if place[0] in inside]
        left = [place for place in left if place[0] not in inside]
        if own:
            _swap_around_forward(part, own)
    net = parts[-1]
    for name in ENTRANCES:
        if hasattr(net, name):
            setattr(net, name, _with_local(getattr(net, name), places))


def _swap_around_forward(part: nn.Module, places: list[ParameterPlace]) -> None:
    # Registered before FSDP's hooks: entered after FSDP has gathered the parameters, left before it frees them.
    kept: list[list[tuple[ParameterPlace, nn.Parameter]]] = []

    def enter(module: nn.Module, args: Any) -> None:
        kept.append(_make_local(places))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        _restore(kept.pop())

    part.register_forward_pre_hook(enter)
    part.register_forward_hook(leave)


def _with_local(method: Callable[..., Any], places: list[ParameterPlace]) -> Callable[..., Any]:
    """Return a method of the network within which all parameters are local, made so once for all passes in it."""

    @functools.wraps(method)
    def wrapped(*args: Any, **named: Any) -> Any:
        kept = _make_local(places)
        try:
            return method(*args, **named)
        finally:
            _restore(kept)

    return wrapped


def _make_local(places: list[ParameterPlace]) -> list[tuple[ParameterPlace, nn.Parameter]]:
    """Replace the DTensors at the places; those that are local already, or that FSDP has not gathered, stay."""
    kept: list[tuple[ParameterPlace, nn.Parameter]] = []
    for owner, name in places:
        parameter: Any = own_parameters(owner)[name]
        if is_dtensor(parameter) and parameter.device_mesh.ndim == 1:
            kept.append(((owner, name), parameter))
            own_parameters(owner)[name] = parameter.to_local(grad_placements=parameter.placements)
    return kept


def _restore(kept: list[tuple[ParameterPlace, nn.Parameter]]) -> None:
    for (owner, name), parameter in kept:
        own_parameters(owner)[name] = parameter
