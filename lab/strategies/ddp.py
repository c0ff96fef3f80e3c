"""Distributed data parallel: every rank holds the whole model; gradients are averaged while backward still runs.

Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020.
"""

from __future__ import annotations

from typing import Any

from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

from lab.compat.lightning import HookedDDP

COMMUNICATIONS = {"bf16": default_hooks.bf16_compress_hook, "fp16": default_hooks.fp16_compress_hook}
"""The dtype to which gradients are rounded for communication: half the traffic, at the price of rounding."""


class DDP(HookedDDP):
    """Lightning's DDP with its options as plain arguments, on GPUs and CPUs alike.

    Args:
        static_graph: the same parameters are used in the same order at every step; less bookkeeping, and reentrant
            activation checkpointing works.
        find_unused_parameters: some parameters get no gradient in some steps; each step then walks through the graph.
        bucket_cap_mb: gradients are sent in buckets of this size.
        gradient_as_bucket_view: gradients are views into the buckets, which saves a copy of them.
        communication: ``bf16`` or ``fp16`` to round gradients before they are sent; None sends them unrounded.
    """

    def __init__(
        self,
        static_graph: bool = False,
        find_unused_parameters: bool = False,
        bucket_cap_mb: int = 25,
        gradient_as_bucket_view: bool = True,
        communication: str | None = None,
    ) -> None:
        hook: Any = COMMUNICATIONS[communication] if communication else None
        super().__init__(
            ddp_comm_hook=hook,
            static_graph=static_graph,
            find_unused_parameters=find_unused_parameters,
            bucket_cap_mb=bucket_cap_mb,
            gradient_as_bucket_view=gradient_as_bucket_view,
        )
