"""Gradients of parameters that take no part in every pass, which deepspeed 0.19.8 gets wrong without a word.

Where a parameter gets no gradient in a step, ZeRO-3 and both offloads step with that of an earlier step, which still
lies in their buffers. Under offload, gradients accumulated for a parameter that the last micro-batch does not use are
lost.
"""

from __future__ import annotations

from typing import Any

import torch


def forget(zero: Any) -> None:
    """Zero what deepspeed's optimizer keeps of gradients, before the first micro-batch of a step."""
    if hasattr(zero, "fp32_partitioned_groups_flat"):
        stale = [zero.grad_partitions_flat_buffer, *(flat.grad for flat in zero.fp32_partitioned_groups_flat)]
    elif zero.cpu_offload:
        stale = [flat.grad for flat in zero.single_partition_of_fp32_groups] + [*zero.accumulated_grads_in_cpu.values()]
    else:
        return  # without offload, stage 2 has none
    for tensor in stale:
        if tensor is not None:
            tensor.zero_()


@torch.no_grad()
def collect(zero: Any) -> None:
    """Hand all gradients accumulated under offload to the optimizer, after the last micro-batch of a step."""
    if getattr(zero, "offload_optimizer", False):
        zero._finalize_offload_gradient_accumulation()
    elif getattr(zero, "cpu_offload", False):
        zero._finalize_cpu_offload_gradient_accumulation()
