"""What passes the border of a tensor-parallel region: conjugate pairs of collectives, forward and backward.

Shoeybi et al., "Megatron-LM", 2019, section 3 (the operators f and g); Korthikanti et al., "Reducing Activation
Recomputation in Large Transformer Models", 2022, section 4.2.2, for the pairs along the sequence. Each backward pass is
the forward pass of the conjugate mapping, so that higher derivatives exist as well. No argument is changed in place.
A group of None, or of one rank, is the identity.

| mapping | forward | backward |
| --- | --- | --- |
| copy_to_tensor_region | identity | sum over ranks |
| reduce_from_tensor_region | sum over ranks | identity |
| scatter_to_tensor_region | own part | all parts |
| gather_from_tensor_region | all parts | own part |
| gather_from_sequence_region | all parts | own part of the sum over ranks |
| reduce_scatter_to_sequence_region | own part of the sum over ranks | all parts |
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lab.layers.tensor_parallel.groups import RankGroup

SEQUENCE = 1
"""The dimension of tokens in (B, T, C)."""


def copy_to_tensor_region(x: Tensor, group: RankGroup | None) -> Tensor:
    """Return ``x`` (...), which is equal on all ranks; backward sums the gradients of the ranks."""
    return x if is_alone(group) else _Copy.apply(x, group)


def reduce_from_tensor_region(x: Tensor, group: RankGroup | None) -> Tensor:
    """Return the sum over ranks of ``x`` (...); the gradient, which is equal on all ranks, passes as it is."""
    return x if is_alone(group) else _Reduce.apply(x, group)


def scatter_to_tensor_region(x: Tensor, group: RankGroup | None, dim: int = -1) -> Tensor:
    """Return this rank's part along ``dim`` of ``x``, which is equal on all ranks; backward puts the parts together."""
    return x if is_alone(group) else _Scatter.apply(x, group, dim)


def gather_from_tensor_region(x: Tensor, group: RankGroup | None, dim: int = -1) -> Tensor:
    """Put the ranks' parts along ``dim`` together; backward takes this rank's part of the gradient.

    What follows must be computed alike on all ranks.
    """
    return x if is_alone(group) else _Gather.apply(x, group, dim)


def gather_from_sequence_region(x: Tensor, group: RankGroup | None, dim: int = SEQUENCE) -> Tensor:
    """Put the ranks' parts of a sequence together for a tensor region; backward sums gradients and takes this part."""
    return x if is_alone(group) else _GatherSum.apply(x, group, dim)


def reduce_scatter_to_sequence_region(x: Tensor, group: RankGroup | None, dim: int = SEQUENCE) -> Tensor:
    """Return this rank's part of a sequence of the sum over ranks of ``x``; backward puts the parts together."""
    return x if is_alone(group) else _SumScatter.apply(x, group, dim)


def is_alone(group: RankGroup | None) -> bool:
    """Whether there is no other rank."""
    return group is None or group.size == 1


def all_reduce(x: Tensor, group: RankGroup, op: Any = dist.ReduceOp.SUM) -> Tensor:
    """Return the sum (or another reduction) over ranks, without a gradient, in a tensor of its own."""
    x = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x, op=op, group=group.group)
    return x


def all_gather(x: Tensor, group: RankGroup) -> Tensor:
    """Return ``x`` (...) of every rank as (ranks, ...), without a gradient."""
    return _gather(x.detach()[None], group, 0)


def _part(x: Tensor, group: RankGroup, dim: int) -> Tensor:
    size = group.part(x.shape[dim], f"dimension {dim} of {list(x.shape)}")
    return x.narrow(dim, group.rank * size, size).contiguous()


def _gather(x: Tensor, group: RankGroup, dim: int) -> Tensor:
    parts = x.new_empty(group.size * x.shape[0], *x.shape[1:])
    dist.all_gather_into_tensor(parts, x.contiguous(), group=group.group)
    return torch.cat(parts.chunk(group.size), dim) if dim else parts


def _sum_part(x: Tensor, group: RankGroup, dim: int) -> Tensor:
    group.part(x.shape[dim], f"dimension {dim} of {list(x.shape)}")
    parts = torch.cat(x.chunk(group.size, dim)) if dim else x.contiguous()
    own = x.new_empty(len(parts) // group.size, *parts.shape[1:])
    dist.reduce_scatter_tensor(own, parts, group=group.group)
    return own


class _Mapping(torch.autograd.Function):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.more = inputs[1:]


class _Copy(_Mapping):
    @staticmethod
    def forward(x: Tensor, group: RankGroup) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return reduce_from_tensor_region(grad, *ctx.more), None


class _Reduce(_Mapping):
    @staticmethod
    def forward(x: Tensor, group: RankGroup) -> Tensor:
        return all_reduce(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return copy_to_tensor_region(grad, *ctx.more), None


class _Scatter(_Mapping):
    @staticmethod
    def forward(x: Tensor, group: RankGroup, dim: int) -> Tensor:
        return _part(x, group, dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return gather_from_tensor_region(grad, *ctx.more), None, None


class _Gather(_Mapping):
    @staticmethod
    def forward(x: Tensor, group: RankGroup, dim: int) -> Tensor:
        return _gather(x, group, dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return scatter_to_tensor_region(grad, *ctx.more), None, None


class _GatherSum(_Mapping):
    @staticmethod
    def forward(x: Tensor, group: RankGroup, dim: int) -> Tensor:
        return _gather(x, group, dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return reduce_scatter_to_sequence_region(grad, *ctx.more), None, None


class _SumScatter(_Mapping):
    @staticmethod
    def forward(x: Tensor, group: RankGroup, dim: int) -> Tensor:
        return _sum_part(x, group, dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return gather_from_sequence_region(grad, *ctx.more), None, None
