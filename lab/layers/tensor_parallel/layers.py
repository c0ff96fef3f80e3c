"""Linear layers, embedding and norm of which each rank of a tensor group holds a part, as in Megatron's ``mpu``.

Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism", 2019, section
3. A pair of a column-parallel and a row-parallel layer needs one sum over the ranks forward and one backward. Without a
group a layer is torch's own. A layer is always built whole, so that its part equals the slice of the layer that one
rank would have made; ``split`` (or ``strategy=tensor_parallel``) then takes the part. ``in_features``,
``out_features`` and ``num_embeddings`` stay those of the whole layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.layers.linear import Linear, linear
from lab.layers.norm import LayerNorm
from lab.layers.tensor_parallel.groups import RankGroup
from lab.layers.tensor_parallel.mappings import (
    copy_to_tensor_region,
    gather_from_sequence_region,
    gather_from_tensor_region,
    is_alone,
    reduce_from_tensor_region,
    reduce_scatter_to_sequence_region,
    scatter_to_tensor_region,
)
from lab.ops.layer_norm import layer_norm


class TensorParallel(nn.Module):
    """Base of modules that compute with this rank's part of their parameters.

    Attributes:
        group: the ranks that share the module's parameters; None: this rank holds all of them.
        sequence_parallel: outside of tensor regions each rank holds a part of the tokens, see ``mappings``.
    """

    group: RankGroup | None = None
    sequence_parallel: bool = False

    def parts(self) -> dict[str, int]:
        """Return which own parameters are split, by name, and along which dimension."""
        return {}

    def join(self, group: RankGroup) -> None:
        """Be told the group. The parameters must then be this rank's parts whenever ``forward`` is called."""
        self.group = group


@torch.no_grad()
def split(net: nn.Module, group: RankGroup) -> None:
    """Keep this rank's part of a whole network's parameters, in place; parameters that modules share stay shared.

    Raises:
        ConfigError: the ranks cannot share a parameter equally.
    """
    done: set[nn.Parameter] = set()
    for prefix, module in net.named_modules():
        if not isinstance(module, TensorParallel):
            continue
        module.join(group)
        for name, dim in module.parts().items():
            whole = module.get_parameter(name)
            if whole not in done:
                size = group.part(whole.shape[dim], f"a side of {prefix}.{name}".replace(" .", " "))
                whole.data = whole.narrow(dim, group.rank * size, size).clone()
                done.add(whole)


@contextmanager
def whole_sequences(net: nn.Module) -> Iterator[None]:
    """Context without sequence parallelism, for passes over sequences that are not worth being split."""
    split_ones = [part for part in net.modules() if isinstance(part, TensorParallel) and part.sequence_parallel]
    for part in split_ones:
        part.sequence_parallel = False
    try:
        yield
    finally:
        for part in split_ones:
            part.sequence_parallel = True


class ColumnParallelLinear(Linear, TensorParallel):
    """A linear layer whose outputs are split: rank i computes ``x @ weight_i.T + bias_i``.

    Args:
        in_features: C.
        out_features: O, of all ranks.
        bias: add a bias, which is split too.
        gather_output: give every rank all outputs (..., O) instead of its own (..., O / ranks).
        sequence_parallel: the input is this rank's part of the tokens.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        gather_output: bool = False,
        sequence_parallel: bool = False,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.gather_output, self.sequence_parallel = gather_output, sequence_parallel

    def parts(self) -> dict[str, int]:
        """Rows of the weight, and the bias."""
        return {"weight": 0} if self.bias is None else {"weight": 0, "bias": 0}

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C), equal on all ranks, to (..., O / ranks); with ``sequence_parallel`` (B, T / ranks, C)."""
        x = enter_tensor_region(x, self.group, self.sequence_parallel)
        x = linear(x, self.weight, self.bias)
        return gather_from_tensor_region(x, self.group) if self.gather_output else x

    def gelu(self, x: Tensor, approximate: str = "none") -> Tensor:
        """Return the GELU of the result of ``forward``, see ``Linear.gelu``; fused if the layer is whole."""
        return super().gelu(x, approximate) if self.group is None else F.gelu(self(x), approximate=approximate)


class RowParallelLinear(Linear, TensorParallel):
    """A linear layer whose inputs are split: ``sum over i of x_i @ weight_i.T``, then the bias, which is not split.

    Args:
        in_features: C, of all ranks.
        out_features: O.
        bias: add a bias, after the sum.
        input_is_parallel: the input is this rank's (..., C / ranks); else all of it, of which each rank takes its part.
        sequence_parallel: each rank gets its part of the tokens.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        input_is_parallel: bool = True,
        sequence_parallel: bool = False,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.input_is_parallel, self.sequence_parallel = input_is_parallel, sequence_parallel

    def parts(self) -> dict[str, int]:
        """Columns of the weight."""
        return {"weight": 1}

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C / ranks) to (..., O), equal on all ranks; with ``sequence_parallel`` to (B, T / ranks, O)."""
        if is_alone(self.group):
            return linear(x, self.weight, self.bias)
        if not self.input_is_parallel:
            x = scatter_to_tensor_region(x, self.group)
        x = leave_tensor_region(linear(x, self.weight), self.group, self.sequence_parallel)
        if self.bias is None:
            return x
        return x + (copy_to_tensor_region(self.bias, self.group) if self.sequence_parallel else self.bias)


class VocabParallelEmbedding(nn.Embedding, TensorParallel):
    """An embedding whose tokens are split: a rank gives zeros for tokens of others, and the ranks' vectors are added.

    Args:
        num_embeddings: V, of all ranks.
        embedding_dim: C.
        sequence_parallel: each rank gets its part of the tokens of a sequence.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, sequence_parallel: bool = False) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.sequence_parallel = sequence_parallel

    def parts(self) -> dict[str, int]:
        """Rows of the table."""
        return {"weight": 0}

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T) int64, equal on all ranks, to (B, T, C); with ``sequence_parallel`` to (B, T / ranks, C)."""
        group = self.group
        if group is None or is_alone(group):
            return F.embedding(tokens, self.weight)
        count = self.weight.shape[0]
        own = tokens - group.rank * count
        elsewhere = (own < 0) | (own >= count)
        vectors = F.embedding(own.masked_fill(elsewhere, 0), self.weight).masked_fill(elsewhere[..., None], 0)
        return leave_tensor_region(vectors, group, self.sequence_parallel)


class SequenceParallelNorm(LayerNorm, TensorParallel):
    """A layer norm of the tokens that this rank holds; backward sums the gradients of its parameters over ranks.

    Args:
        normalized_shape: C.
        eps: added to the variance.
        sequence_parallel: False: every rank has all tokens, and this is ``LayerNorm``.
    """

    def __init__(self, normalized_shape: int, eps: float = 1e-5, sequence_parallel: bool = False) -> None:
        super().__init__(normalized_shape, eps=eps)
        self.sequence_parallel = sequence_parallel

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T / ranks, C) to the same shape."""
        if not self._sums:
            return super().forward(x)
        weight, bias = copy_to_tensor_region(torch.stack((self.weight, self.bias)), self.group)  # both in one sum
        return layer_norm(x, weight, bias, self.eps)

    def fuses(self, *tensors: Tensor) -> bool:
        """Whether ``add`` is one kernel: see ``LayerNorm``."""
        return not self._sums and super().fuses(*tensors)

    @property
    def _sums(self) -> bool:
        return self.sequence_parallel and not is_alone(self.group)


def enter_tensor_region(x: Tensor, group: RankGroup | None, sequence_parallel: bool) -> Tensor:
    """Give every rank of a tensor region all tokens: of (B, T, C) equal on all ranks, or of (B, T / ranks, C)."""
    return gather_from_sequence_region(x, group) if sequence_parallel else copy_to_tensor_region(x, group)


def leave_tensor_region(x: Tensor, group: RankGroup | None, sequence_parallel: bool) -> Tensor:
    """Sum (B, T, C) over the ranks, and keep the part (B, T / ranks, C) of the tokens with ``sequence_parallel``."""
    return reduce_scatter_to_sequence_region(x, group) if sequence_parallel else reduce_from_tensor_region(x, group)
