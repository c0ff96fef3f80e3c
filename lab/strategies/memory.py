"""Computes the device memory of a rank under each strategy, from sizes alone. No torch.

It counts parameters, gradients, optimizer states and activations, each with the buffers that the strategy adds: DDP's
buckets, FSDP's gathered units, DeepSpeed's partitions. It does not count the process itself (interpreter, libraries, a
CUDA context), workspace of kernels and waste of the allocator; ``lab.strategies.planner`` leaves room for these.

Sources: ``torch.nn.parallel.DistributedDataParallel`` and ``torch.distributed.fsdp`` of torch 2.15,
``deepspeed.runtime.zero`` of deepspeed 0.19.8; Rajbhandari et al., "ZeRO", SC 2020, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

FLOAT32 = 4


@dataclass(frozen=True)
class Parameter:
    """A parameter of the network.

    Attributes:
        shape: the shape of the whole parameter.
        trained: whether it has a gradient.
        unit: the number of the unit that it is gathered with (``blocks`` of the architecture's ``parallel``); None for
            a parameter outside of units.
        split: whether the architecture's ``tensor_plan`` splits it.
    """

    shape: tuple[int, ...]
    trained: bool = True
    unit: int | None = None
    split: bool = False

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def rows(self, parts: int) -> int:
        """Elements of the largest part when the first dimension is split, as under FSDP2."""
        return -(-self.shape[0] // parts) * math.prod(self.shape[1:]) if self.shape else 1

    def run(self, parts: int) -> int:
        """Elements of the largest part when the flattened parameter is split, as under ZeRO-3."""
        return -(-self.numel // parts)


@dataclass(frozen=True)
class Workload:
    """The numbers that decide how much memory a training needs. Sizes are in bytes.

    Attributes:
        weights: the parameters.
        element: size of a parameter's element.
        gathered: size of an element of a parameter that FSDP has gathered: 2 under ``bf16-mixed``.
        states: copies of the trained parameters that the optimizer keeps: 2 for Adam, 1 for momentum.
        averages: copies that callbacks keep: 1 for an average of the weights (EMA).
        scratch: temporary copies that the optimizer makes during a step.
        buffers: size of the network's buffers.
        activations: size of one rank's micro-batch and of the activations that backward needs for it.
        recomputed: the same under activation checkpointing.
        training: False if nothing is trained.
    """

    weights: tuple[Parameter, ...]
    element: int = FLOAT32
    gathered: int = FLOAT32
    states: int = 2
    averages: int = 0
    scratch: int = 1
    buffers: int = 0
    activations: int = 0
    recomputed: int = 0
    training: bool = True

    def total(self, size: Callable[[Parameter], int] | None = None) -> int:
        """Add up the elements of all parameters; ``size`` gives a parameter's elements on one rank."""
        return sum(weight.numel if size is None else size(weight) for weight in self.weights)

    def trained(self, size: Callable[[Parameter], int] | None = None) -> int:
        """Add up the elements of the trained parameters; 0 if nothing is trained."""
        chosen = [weight for weight in self.weights if weight.trained and self.training]
        return sum(weight.numel if size is None else size(weight) for weight in chosen)

    def of_units(self, trained: bool = False) -> list[int]:
        """Return the number of elements of each unit."""
        found: dict[int, int] = {}
        for weight in self.weights:
            if weight.unit is not None and (not trained or (weight.trained and self.training)):
                found[weight.unit] = found.get(weight.unit, 0) + weight.numel
        return list(found.values())

    def of_rest(self, trained: bool = False) -> int:
        """Return the number of elements that are in no unit."""
        return (self.trained() if trained else self.total()) - sum(self.of_units(trained))


@dataclass(frozen=True)
class Estimate:
    """The estimated bytes of a rank.

    Attributes:
        parameters: parameters, with gathered copies and the network's buffers.
        gradients: gradients, with the buffers in which they are reduced.
        optimizer: optimizer states, and averages that callbacks keep.
        activations: activations of one micro-batch.
        scratch: temporary memory of the optimizer's step; there are no activations at that time.
        host: bytes in the host's memory, if that is separate from the device's.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    scratch: int = 0
    host: int = 0

    @property
    def total(self) -> int:
        """The peak: activations and scratch never coincide, so only the larger counts."""
        return self.parameters + self.gradients + self.optimizer + max(self.activations, self.scratch)


def estimate(work: Workload, settings: Mapping[str, Any], ranks: int, gpu: bool = False) -> Estimate:
    """Return the memory of a rank.

    Args:
        work: the training.
        settings: ``name`` and options of a strategy, as in ``conf/strategy``.
        ranks: the number of ranks of the job; for ``dp`` the number of devices.
        gpu: whether the devices are GPUs; memory of the host takes no room before it is written to.
    """
    name = settings["name"]
    if name in ("single", "dp"):
        return whole(work)
    if name == "ddp":
        return ddp(work, settings)
    if name == "fsdp":
        return fsdp(work, settings, ranks)
    if name == "tensor_parallel":
        return tensor_parallel(work, settings["tensor_parallel_size"] or ranks, ranks)
    return zero(work, settings, ranks, gpu)


def whole(work: Workload, averaged: int | None = None) -> Estimate:
    """Everything on one device. Under ``dp`` this is the first device, which adds up gradients and makes the step."""
    trained = work.trained() * work.element
    return Estimate(
        parameters=work.total() * work.element + work.buffers,
        gradients=trained,
        optimizer=trained * (work.states + work.averages),
        activations=work.activations,
        scratch=trained * work.scratch,
    )


def ddp(work: Workload, settings: Mapping[str, Any]) -> Estimate:
    """As ``whole``, and DDP's buckets: gradients are views into them, or have a second copy there."""
    alone = whole(work)
    buckets = 0 if settings["gradient_as_bucket_view"] else alone.gradients
    if settings["communication"]:  # a bucket is rounded into a second bucket
        buckets += min(settings["bucket_cap_mb"] * 2**20, alone.gradients) * 2 // work.element
    return Estimate(alone.parameters, alone.gradients + buckets, alone.optimizer, alone.activations, alone.scratch)


def fsdp(work: Workload, settings: Mapping[str, Any], ranks: int) -> Estimate:
    """A part of everything, and the parameters that are gathered at one time.

    Parameters outside of units stay gathered from forward to backward. Two units are gathered at a time: one computes
    while the next is gathered. In backward a unit's gradients are whole too. When they are complete, the unit's
    parameters are freed and a buffer is made from which the gradients are reduced.
    """
    rest, units = work.of_rest(), sorted(work.of_units())
    gathered = rest + (sum(units[-2:]) if settings["reshard_after_forward"] is True else sum(units))
    reduced = work.element if settings["reduce_dtype"] == "32" else 2
    own, unit = work.of_rest(trained=True), max(work.of_units(trained=True), default=0)
    flowing = own * work.gathered + unit * max(work.gathered, reduced)
    held = _RankBytes(work, lambda weight: weight.rows(ranks))
    on_device = gathered * work.gathered + work.buffers
    activations = work.recomputed if settings["activation_checkpointing"] else work.activations
    if settings["cpu_offload"]:
        return Estimate(on_device, flowing, 0, activations, 0, held.parameters + held.gradients + held.optimizer)
    return Estimate(on_device + held.parameters, flowing + held.gradients, held.optimizer, activations, held.scratch)


def tensor_parallel(work: Workload, size: int, ranks: int) -> Estimate:
    """The plan's matrices in ``size`` parts, the rest whole; the ``ranks / size`` data ranks shard both as FSDP does.

    Activations are those of all samples of a tensor group; between the pairs of matrices each rank has them whole.
    """
    shares = ranks // size
    part = _RankBytes(work, lambda weight: weight.run(size * shares) if weight.split else weight.rows(shares))
    activations = work.activations * size
    if shares == 1:
        parameters = part.parameters + work.buffers
        return Estimate(parameters, part.gradients, part.optimizer, activations, part.scratch)
    gathered = work.of_rest() + sum(sorted(work.of_units())[-2:])
    parameters = part.parameters + gathered * work.gathered + work.buffers
    flowing = (work.of_rest(trained=True) + max(work.of_units(trained=True), default=0)) * work.element
    return Estimate(parameters, part.gradients + flowing, part.optimizer, activations, part.scratch)


def zero(work: Workload, settings: Mapping[str, Any], ranks: int, gpu: bool = False) -> Estimate:
    """DeepSpeed's ZeRO-2 or ZeRO-3; parameters, summed gradients and states are float32.

    The flat buffer that collects gradients has its full size from the beginning; ZeRO-2 with ``overlap_comm`` has two.
    Before each step the parts of the gradients are copied into one vector.
    """
    part = _RankBytes(work, lambda weight: weight.run(ranks), element=FLOAT32)
    bucket = settings["reduce_bucket_size"] * FLOAT32 if work.training else 0
    bucket = bucket if gpu else min(bucket, work.trained() * FLOAT32)
    scratch = part.scratch + part.gradients
    if settings["stage"] == 2:
        parameters = work.total() * FLOAT32 + work.buffers
        bucket *= 2 if settings["overlap_comm"] else 1
        average = work.trained() * FLOAT32 * work.averages
        master, states = part.gradients, part.gradients * work.states  # of this rank's part of the trained parameters
        if settings["offload_optimizer"]:
            on_host = master + part.gradients + states + scratch
            return Estimate(parameters, bucket, average, work.activations, 0, on_host)
        return Estimate(parameters + master, bucket + part.gradients, states + average, work.activations, scratch)
    small = sum(w.numel for w in work.weights if w.numel <= settings["persistence_threshold"])
    loose = [weight.numel for weight in work.weights if weight.unit is None]
    largest = max([*work.of_units(), *loose], default=0)
    ahead = min(settings["prefetch_bucket_size"], work.total())
    unit = max(work.of_units(trained=True), default=0)
    # A unit is gathered into one buffer and copied out of it, at a time when its gradients do not exist yet.
    live = min(small + largest + max(ahead, largest - unit), work.total() + largest) * FLOAT32 + work.buffers
    flowing = bucket + unit * FLOAT32
    stepping = part.gradients + part.optimizer
    if settings["offload_parameters"]:
        return Estimate(live, flowing, 0, work.activations, 0, part.parameters + stepping + scratch)
    if settings["offload_optimizer"]:
        return Estimate(live + part.parameters, flowing, 0, work.activations, 0, stepping + scratch)
    return Estimate(live + part.parameters, flowing + part.gradients, part.optimizer, work.activations, scratch)


class _RankBytes:
    """The bytes of a rank when everything is split by ``size``."""

    def __init__(self, work: Workload, size: Callable[[Parameter], int], element: int | None = None) -> None:
        element = element or work.element
        self.parameters = work.total(size) * element
        self.gradients = work.trained(size) * element
        self.optimizer = self.gradients * (work.states + work.averages)
        self.scratch = self.gradients * work.scratch
