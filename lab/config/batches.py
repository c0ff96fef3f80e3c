"""Into how many parts a config divides its global batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def data_ranks(config: Mapping[str, Any]) -> int:
    """Return the number of ranks that read samples of their own. With strategy=dp this is one process."""
    strategy, trainer = config["strategy"], config["trainer"]
    ranks: int = trainer["devices"] * trainer["num_nodes"]
    if strategy["name"] == "dp":
        return 1
    if strategy["name"] == "tensor_parallel":
        ranks //= strategy["tensor_parallel_size"] or trainer["devices"]
    return ranks


def images_at_once(config: Mapping[str, Any]) -> int:
    """Return how many samples a network gets in one forward pass of a training."""
    size: int = config["data"]["batch_size"] // (data_ranks(config) * config["trainer"]["accumulate_grad_batches"])
    return -(-size // config["trainer"]["devices"]) if config["strategy"]["name"] == "dp" else size
