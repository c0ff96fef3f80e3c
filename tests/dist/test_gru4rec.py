"""GRU4Rec's lanes split over two ranks of DDP train the weights that one process trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from lab.models.gru4rec.network import GRU4Rec
from lab.training.optimizers import make_optimizer
from lab.training.terms import divided
from tests.distributed import run_distributed
from tests.unit.tasks.recommendation.data.test_lanes import make_steps

SETTINGS = {
    "name": "adagrad",
    "lr": 0.05,
    "momentum": 0.3,
    "eps": 1e-6,
    "weight_decay": 0.0,
    "no_decay_norm_bias": False,
    "groups": [],
}


def train(rank: int, world_size: int, accumulate: int) -> dict[str, Any]:
    """Walk from the middle of an epoch into the next one; towards its end a rank has no live lane."""
    torch.manual_seed(0)
    net = GRU4Rec(30, [8], loss="cross_entropy", logq=1.0).double().train()
    steps = make_steps(accumulate=accumulate, rank=rank, world_size=world_size)
    wrapped: Any = net
    if world_size > 1:
        wrapped = torch.nn.parallel.DistributedDataParallel(net, gradient_as_bucket_view=True)
    optimizer = make_optimizer(net, SETTINGS, private=world_size == 1)
    count, empty = len(steps.schedule), 0
    for number in range(count - 30, count + 20):
        optimizer.zero_grad()
        for part in range(accumulate):
            batch = steps[number // count, number % count * accumulate + part]
            empty += batch.num_samples == 0
            (loss,) = divided(net.loss(wrapped(batch), batch.targets), {"lanes": 8}).values()
            (loss * world_size).backward()  # DDP averages
        optimizer.step()
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    states = net.training_state()["hidden.0"]
    if world_size > 1:
        dist.all_reduce(states)
    return {"weights": weights, "states": states.numpy(), "empty": empty}


def test_two_ranks_train_as_one() -> None:
    alone = train(0, 1, 1)
    ranks = run_distributed(train, 2, (2, 2))
    assert sum(rank["empty"] for rank in ranks) > 0
    for rank in ranks:
        for name, value in alone["weights"].items():
            np.testing.assert_allclose(rank["weights"][name], value, rtol=0, atol=1e-12)  # worst 5.6e-16
        np.testing.assert_allclose(rank["states"], alone["states"], rtol=0, atol=1e-12)
