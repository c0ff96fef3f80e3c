"""The layers of ``lab.layers.tensor_parallel`` on 1, 2 and 4 gloo ranks against the same computation on one, as in mpu.

Every rank makes the whole inputs, weights and results from the same seed and compares its part with them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.errors import ConfigError
from lab.layers.tensor_parallel import mappings
from lab.layers.tensor_parallel.cross_entropy import (
    argmax,
    is_most_probable,
    log_probability,
    vocab_parallel_cross_entropy,
)
from lab.layers.tensor_parallel.groups import RankGroup, lay_out
from lab.layers.tensor_parallel.layers import (
    ColumnParallelLinear,
    RowParallelLinear,
    SequenceParallelNorm,
    VocabParallelEmbedding,
    split,
)
from lab.layers.tensor_parallel.random import tensor_region
from tests.distributed import run_distributed

B, T, C, WIDE, V = 2, 8, 8, 16, 24
MAPPINGS: dict[str, tuple[Callable[..., Tensor], str, str]] = {
    # what goes in and what comes out: "same" on all ranks, a "part" of the last dimension or of the "tokens", a "sum"
    # over ranks; its gradient is that of the whole computation
    "copy": (mappings.copy_to_tensor_region, "same", "sum"),
    "reduce": (mappings.reduce_from_tensor_region, "sum", "same"),
    "scatter": (mappings.scatter_to_tensor_region, "same", "part"),
    "gather": (mappings.gather_from_tensor_region, "part", "same"),
    "gather sequence": (mappings.gather_from_sequence_region, "tokens", "sum"),
    "reduce-scatter sequence": (mappings.reduce_scatter_to_sequence_region, "sum", "tokens"),
}


def part_of(whole: Tensor, group: RankGroup, dim: int = -1) -> Tensor:
    return whole.chunk(group.size, dim)[group.rank]


def form(whole: Tensor, kind: str, group: RankGroup) -> Tensor:
    """Return what this rank holds of ``whole``; of a sum each rank holds a different share."""
    if kind == "same":
        return whole
    if kind == "sum":
        return whole * (group.rank + 1) / sum(range(1, group.size + 1))
    return part_of(whole, group, 1 if kind == "tokens" else -1)


@torch.no_grad()
def distance(these: Any, those: Any) -> float:
    """Return the largest difference, relative to the largest number if that is above 1."""
    assert these.shape == those.shape
    return float((these - those).abs().max() / those.abs().max().clamp(min=1))


def check_mapping(name: str, group: RankGroup) -> float:
    """A mapping changes how a tensor is held, and backward how its gradient is held: as sums become copies."""
    mapping, before, after = MAPPINGS[name]
    torch.manual_seed(1)
    x, grad = torch.randn(B, T, C), torch.randn(B, T, C)
    own = form(x, before, group).clone().requires_grad_()
    kept = own.detach().clone()
    out = mapping(own, group)
    # of a sum going out of a copy each rank has the copy; of a sum's gradient each rank has its share
    expected = form(x, "same" if after == "sum" else after, group)
    out.backward(form(grad, after, group))
    by_x = form(grad, "same" if before == "sum" else before, group)
    assert own.grad is not None
    return max(distance(out.detach(), expected), distance(own.grad, by_x), distance(own.detach(), kept))


class Pair(nn.Module):
    """Two matrices with a GELU between them, behind a norm."""

    def __init__(self, sequence: bool) -> None:
        super().__init__()
        self.norm = SequenceParallelNorm(C, sequence_parallel=sequence)
        self.up = ColumnParallelLinear(C, WIDE, sequence_parallel=sequence)
        self.down = RowParallelLinear(WIDE, C, sequence_parallel=sequence)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(self.norm(x))))
        return out


def check_net(
    make: Callable[[], nn.Module], x: Tensor, group: RankGroup, before: str = "same", after: str = "same"
) -> float:
    """Compare a split network with the whole one: output, gradients of the input and of each part."""
    torch.manual_seed(2)
    whole = make()
    for parameter in whole.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = copy.deepcopy(whole)
    split(ours, group)
    floating = x.is_floating_point()
    theirs_x, own_x = x.clone().requires_grad_(floating), form(x, before, group).clone().requires_grad_(floating)
    theirs, out = whole(theirs_x), ours(own_x)
    grad = torch.randn_like(theirs)
    theirs.backward(grad)
    out.backward(form(grad, after, group))
    errors = [distance(out, form(theirs, after, group))]
    if floating:
        assert own_x.grad is not None
        assert theirs_x.grad is not None
        errors.append(distance(own_x.grad, form(theirs_x.grad, before, group)))
    for name, parameter in ours.named_parameters():
        other = whole.get_parameter(name)
        module, _, own = name.rpartition(".")
        dim = ours.get_submodule(module).parts().get(own)  # type: ignore[operator]
        for mine, its in ((parameter, other), (parameter.grad, other.grad)):
            assert mine is not None
            assert its is not None
            errors.append(distance(mine, its if dim is None else part_of(its, group, dim)))
    return max(errors)


def check_layers(group: RankGroup) -> dict[str, float]:
    torch.manual_seed(3)
    x, wide, tokens = torch.randn(B, T, C), torch.randn(B, T, WIDE), torch.randint(V, (B, T))
    return {
        "column": check_net(lambda: ColumnParallelLinear(C, WIDE), x, group, "same", "part"),
        "column, gathered": check_net(lambda: ColumnParallelLinear(C, WIDE, gather_output=True), x, group),
        "column, no bias": check_net(lambda: ColumnParallelLinear(C, WIDE, bias=False), x, group, "same", "part"),
        "row": check_net(lambda: RowParallelLinear(WIDE, C), wide, group, "part"),
        "row, whole input": check_net(lambda: RowParallelLinear(WIDE, C, input_is_parallel=False), wide, group),
        "row, no bias": check_net(lambda: RowParallelLinear(WIDE, C, bias=False), wide, group, "part"),
        "embedding": check_net(lambda: VocabParallelEmbedding(V, C), tokens, group),
        "embedding, tokens split": check_net(
            lambda: VocabParallelEmbedding(V, C, sequence_parallel=True), tokens, group, after="tokens"
        ),
        "pair": check_net(lambda: Pair(False), x, group),
        "pair, tokens split": check_net(lambda: Pair(True), x, group, "tokens", "tokens"),
    }


def check_loss(group: RankGroup) -> dict[str, float]:
    """Against torch's cross-entropy and argmax of the whole logits; offsets and ties in them."""
    torch.manual_seed(4)
    found = {}
    for name, offset in (("cross-entropy", 0.0), ("cross-entropy, offset", 1000.0)):
        whole = (torch.randn(B, T, V) * 3 + offset).requires_grad_()
        labels, grad = torch.randint(V, (B, T)), torch.randn(B, T)
        own = part_of(whole.detach(), group).clone().requires_grad_()
        kept = own.detach().clone()
        losses = vocab_parallel_cross_entropy(own, labels, group)
        expected = F.cross_entropy(whole.flatten(0, 1), labels.flatten(), reduction="none").view(B, T)
        expected.backward(grad)
        losses.backward(grad)
        assert own.grad is not None
        assert whole.grad is not None
        errors = distance(losses, expected), distance(own.grad, part_of(whole.grad, group)), distance(own, kept)
        found[name] = max(errors)
    tied = torch.randint(3, (B, T, V)).float()
    best = torch.tensor([[int((row == row.max()).nonzero()[0]) for row in rows] for rows in tied])
    same = torch.equal(argmax(part_of(tied, group), group), best)
    labels = torch.where(torch.rand(B, T) < 0.5, best, torch.randint(V, (B, T)))
    same &= torch.equal(is_most_probable(part_of(tied, group), labels, group), labels == best)
    logits = torch.randn(B, T, V)
    probable = logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
    found["log-probability"] = distance(log_probability(part_of(logits, group), labels, group), probable)
    half = part_of(torch.randn(B, T, V).bfloat16(), group).clone().requires_grad_()
    losses = vocab_parallel_cross_entropy(half, labels, group)
    losses.sum().backward()
    same &= losses.dtype == torch.float32 and half.grad is not None and half.grad.dtype == torch.bfloat16
    none = vocab_parallel_cross_entropy(torch.zeros(0, V // group.size), torch.zeros(0, dtype=torch.long), group)
    return {**found, "argmax": float(not same), "no label": float(none.shape != (0,))}


def draws(group: RankGroup) -> list[list[float]]:
    """Return numbers drawn before, inside and after a tensor region, and inside of the next one."""
    torch.manual_seed(5)
    drawn = [torch.rand(3)]
    with tensor_region(group):
        drawn.append(torch.rand(3))
    drawn.append(torch.rand(3))
    with tensor_region(group):
        drawn.append(torch.rand(3))
    return [numbers.tolist() for numbers in drawn]


def second_derivative(group: RankGroup) -> float:
    """The mappings' backward passes are mappings: the gradient of a gradient's norm exists and is right."""
    torch.manual_seed(6)
    whole = Pair(False).double()
    ours = copy.deepcopy(whole)
    split(ours, group)
    results = []
    for net in (whole, ours):
        x = torch.linspace(-1, 1, B * T * C, dtype=torch.float64).view(B, T, C).requires_grad_()
        (by_x,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(by_x.square().sum(), x)[0])
    return distance(*results)


def on_ranks(rank: int, world_size: int) -> dict[str, Any]:
    grid = lay_out(world_size)
    group = grid.tensor
    errors = {name: check_mapping(name, group) for name in MAPPINGS}
    errors |= check_layers(group) | check_loss(group) | {"second derivative": second_derivative(group)}
    found: dict[str, Any] = {"errors": errors, "draws": draws(group), "group": (group.rank, group.size)}
    found["refusals"] = [refusal(lambda: lay_out(3)), refusal(lambda: split(ColumnParallelLinear(C, 7), group))]
    if world_size == 4:
        half = lay_out(2)
        groups = (half.tensor, half.data)
        sums = [int(mappings.all_reduce(torch.tensor(10**rank), each)) for each in groups]
        found["grid"] = [(each.rank, each.size) for each in groups], sums
    if world_size > 1:
        found["mutants"] = mutants(group)
    return found


def refusal(call: Callable[[], Any]) -> str:
    try:
        call()
    except ConfigError as error:
        return str(error)
    return ""


def mutants(group: RankGroup) -> dict[str, float]:
    """Each leaves one thing out; returns the errors that the checks see."""

    class BiasBefore(RowParallelLinear):
        def forward(self, x: Tensor) -> Tensor:
            return mappings.reduce_from_tensor_region(F.linear(x, self.weight, self.bias), self.group)

    class NoBackwardSum(ColumnParallelLinear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight, self.bias)

    class NoMask(VocabParallelEmbedding):
        def forward(self, tokens: Tensor) -> Tensor:
            return mappings.reduce_from_tensor_region(F.embedding(tokens % len(self.weight), self.weight), self.group)

    torch.manual_seed(3)
    x, wide, tokens = torch.randn(B, T, C), torch.randn(B, T, WIDE), torch.randint(V, (B, T))
    return {
        "bias before the sum": check_net(lambda: BiasBefore(WIDE, C), wide, group, "part"),
        "no sum backward": check_net(lambda: NoBackwardSum(C, WIDE), x, group, "same", "part"),
        "no mask": check_net(lambda: NoMask(V, C), tokens, group),
    }


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_parts_compute_what_the_whole_does(world_size: int) -> None:
    ranks = run_distributed(on_ranks, world_size, args=(world_size,))
    for rank in ranks:
        worst = max(rank["errors"], key=rank["errors"].get)
        assert rank["errors"][worst] < 1e-6, worst  # measured: 2.9e-7
    before, inside, after, again = zip(*(rank["draws"] for rank in ranks), strict=True)
    assert all(drawn == before[0] for drawn in before)
    assert all(drawn == after[0] for drawn in after)
    assert len({tuple(drawn) for drawn in (*inside, *again)}) == 2 * world_size
    assert [rank["group"] for rank in ranks] == [(number, world_size) for number in range(world_size)]
    by_three, odd = ranks[0]["refusals"]
    assert by_three == f"strategy.tensor_parallel_size=3 does not divide the {world_size} ranks of the job"
    assert odd == (
        f"strategy.tensor_parallel_size={world_size} does not divide 7, a side of weight" if world_size > 1 else ""
    )
    if world_size == 4:
        tensor, data = [0b0011, 0b0011, 0b1100, 0b1100], [0b0101, 0b1010, 0b0101, 0b1010]
        expected = [([(r % 2, 2), (r // 2, 2)], [int(f"{tensor[r]:b}"), int(f"{data[r]:b}")]) for r in range(4)]
        assert [rank["grid"] for rank in ranks] == expected
    if world_size > 1:
        assert min(ranks[1]["mutants"].values()) > 0.05  # measured: 0.15
