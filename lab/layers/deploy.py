"""A network prepared for inference: batch norms folded, weights packed, the memory layout chosen by measuring."""

from __future__ import annotations

import copy
import functools
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, get_args, runtime_checkable

import torch
from torch import Tensor, nn

from lab.checking import check_choice
from lab.errors import ConfigError, LabError
from lab.layers.folding import LINEAR, fold_norms, replace_module, tensors_in
from lab.layers.packed import PackedConv2d, PackedLinear
from lab.layers.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear

logger = logging.getLogger(__name__)
Layout = Literal["auto", "channels_last", "contiguous"]
SHARED = (ColumnParallelLinear, RowParallelLinear)
"""Linear layers that ranks may share; on one rank they are ordinary ones."""
SIDE = 224
"""Pixels of the images that a network is tried on, unless others are given."""
TOLERANCE, ROUNDINGS = 1e-4, 8
"""Of the outputs, relative to the largest value: a difference that is larger than both is no rounding. The second one
counts roundings of the outputs' own type, which matter in half precision."""
ROUNDS = 5
GAIN = 0.95
"""What a layout's share of the other one's time must be below, so that noise does not choose it."""


@runtime_checkable
class KeepsConstants(Protocol):
    """A module that computes something from its parameters in each forward pass, and could keep it."""

    def keep_constants(self) -> None:
        """Compute it once; parameters do not change any more."""


@dataclass(frozen=True)
class Deployment:
    """What ``lab.deploy`` has done; the network has it as ``deployment``.

    Attributes:
        folded: of each batch norm that was folded the layer that it is now a part of.
        left: of each other batch norm, which is computed as before, the reason.
        constants: the number of modules that now keep what they computed from their parameters in each call.
        packed: the number of layers whose weights are held in oneDNN's layout as well.
        layout: ``channels_last``, ``contiguous``, or ``as it is`` if the network chooses itself.
        seconds: measured for each layout; empty where none was.
        difference: of the outputs for the example from those before, relative to the largest value.
    """

    folded: Mapping[str, str]
    left: Mapping[str, str]
    constants: int
    packed: int
    layout: str
    difference: float
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        reasons = {reason: list(self.left.values()).count(reason) for reason in self.left.values()}
        left = ", ".join(f"{count} left ({reason})" for reason, count in reasons.items()) or "none left"
        return (
            f"{len(self.folded)} batch norms folded, {left}; {self.constants} modules keep constants, "
            f"{self.packed} layers packed; layout {self.layout}; "
            f"outputs differ by {self.difference:.1e}"
        )


Deployed = TypeVar("Deployed", bound=nn.Module)


def deploy(model: Deployed, example: Any = None, layout: Layout = "auto") -> Deployed:
    """Return a copy of a network for inference, with equal outputs.

    Batch norms become a part of the convolution or linear layer before them, where that layer's result goes nowhere
    else. On a CPU weights are held in oneDNN's layout too, so that no call has to rearrange them (this needs their
    memory a second time), and what a network computes from its parameters in each call is computed once. Images are
    laid out channels last if the copy is faster so, which is measured. The copy takes no gradient of its parameters and
    stays in evaluation mode. ``deployment`` of the copy (of a task's ``net``) tells what was done and what was left:
    ``print(lab.deploy(model).deployment)``.

    Args:
        model: a network, or a task as ``lab.load`` returns it, whose network is exchanged in the copy.
        example: what the network is called with, one input or a tuple of them, to see which layer's result each norm
            takes, to compare and to measure; None for one image of noise of 224 pixels. Choose the size that matters.
        layout: ``channels_last`` or ``contiguous`` to choose without measuring.

    Raises:
        ConfigError: the network cannot be called with the example.
        LabError: the outputs for the example have changed.
    """
    check_choice("layout", layout, get_args(Layout))
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"deploy: {type(model).__name__} is no network: give an nn.Module, such as lab.create_model(...), or a "
            "task, such as lab.load(ckpt)"
        )
    inputs = None if example is None else example if isinstance(example, tuple) else (example,)
    copied = copy.deepcopy(model).eval()
    if callable(getattr(copied, "terms", None)):  # a task, which holds its network
        copied.net = _prepare(copied.get_submodule("net"), inputs, layout)
        return copied.requires_grad_(False)
    return _prepare(copied, inputs, layout)


def _prepare(net: Deployed, inputs: tuple[Any, ...] | None, layout: Layout) -> Deployed:
    net.eval().requires_grad_(False)
    inputs = example_of(net) if inputs is None else inputs
    before = _outputs(net, inputs)
    rounding = max((torch.finfo(one.dtype).eps for one in before if one.is_floating_point()), default=0.0)
    folded, left = fold_norms(net, inputs)
    keepers = [module for module in net.modules() if isinstance(module, KeepsConstants)]
    for module in keepers:
        module.keep_constants()
    packed = _pack(net)
    chosen, seconds = _lay_out(net, inputs, layout)
    difference = relative_difference(_outputs(net, inputs), before)
    if not difference <= max(TOLERANCE, ROUNDINGS * rounding):
        raise LabError(
            f"deploy: the outputs of {type(net).__name__} differ by {difference:.1e} after {len(folded)} batch norms "
            "were folded: its forward pass uses weights in a way that this cannot see"
        )
    report = Deployment(folded, left, len(keepers), packed, chosen, difference, seconds)
    logger.info("%s: %s", type(net).__name__, report)
    net.__dict__["deployment"] = report
    net.__dict__["train"] = functools.partial(_stay_in_evaluation, net)
    return net


def _stay_in_evaluation(net: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for ``train``: what was folded cannot be trained."""
    return nn.Module.train(net, mode=False)


def example_of(net: nn.Module) -> tuple[Tensor]:
    """Return one image of noise for a network that takes images alone.

    Raises:
        ConfigError: it has no convolution of images.
    """
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise ConfigError(
            f"deploy: {type(net).__name__} has no convolution of images, so what it takes is not known: give "
            "example=..., one input or a tuple of them"
        )
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, first.in_channels, SIDE, SIDE, generator=generator)
    return (images.to(first.weight),)


@torch.no_grad()
def _outputs(net: nn.Module, inputs: Sequence[Any]) -> list[Tensor]:
    try:
        found = net(*inputs)
    except (TypeError, AttributeError, RuntimeError, LabError) as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_in(inputs))
        raise ConfigError(
            f"deploy: {type(net).__name__} could not be called with tensors of shape {shapes}: give example=..., one "
            f"input or a tuple of them ({error})"
        ) from error
    return [tensor.clone() for tensor in tensors_in(found)]


def relative_difference(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Return the largest difference of two lists of tensors, relative to the largest finite value of each tensor."""
    worst = 0.0
    for one, other in zip(found, wanted, strict=True):
        if not other.is_floating_point():
            continue
        finite = other.isfinite()
        if not torch.equal(finite, one.isfinite()):
            return float("inf")
        one, other = one[finite], other[finite]
        if other.numel():
            scale = float(other.abs().max()) or 1.0
            worst = max(worst, float((one - other).abs().max()) / scale)
    return worst


def _pack(net: nn.Module) -> int:
    """Exchange convolutions and linear layers on a CPU for packed ones; return how many there are."""
    packed = 0
    for module in list(net.modules()):
        linear = type(module) in LINEAR or (isinstance(module, SHARED) and module.group is None)
        kind = PackedConv2d if type(module) is nn.Conv2d else PackedLinear if linear else None
        if kind is None or module is net or hasattr(module, "parametrizations"):
            continue
        layer = kind.take(module)
        if layer.packed is not None:
            replace_module(net, module, layer)
            packed += 1
    return packed


def _lay_out(net: nn.Module, inputs: Sequence[Any], layout: Layout) -> tuple[str, dict[str, float]]:
    """Choose the memory layout of images, and have the network convert them."""
    images = [tensor for tensor in tensors_in(inputs) if tensor.ndim == 4 and tensor.is_floating_point()]
    if not images or not any(isinstance(module, nn.Conv2d) for module in net.modules()):
        return "as it is", {}
    seconds: dict[str, float] = {}
    if layout == "auto":
        turned = [_to_channels_last(value) for value in inputs]
        tries: dict[str, Sequence[Any]] = {"contiguous": inputs, "channels_last": turned}
        seconds = _measure({name: functools.partial(_outputs, net, given) for name, given in tries.items()}, images[0])
        layout = "channels_last" if seconds["channels_last"] < GAIN * seconds["contiguous"] else "contiguous"
    if layout == "contiguous":
        return "as it is" if seconds else "contiguous", seconds
    net.register_forward_pre_hook(_turn_images)
    return layout, seconds


def _measure(calls: Mapping[str, Callable[[], Any]], where: Tensor) -> dict[str, float]:
    """Return the median time of each call, interleaved; processor time on a CPU."""
    clock = time.process_time if where.device.type == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if where.device.type == "cuda":
                torch.cuda.synchronize(where.device)
            if turn:  # the first one warms up
                times[name].append(clock() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def _turn_images(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_to_channels_last(value) for value in args)


def _to_channels_last(value: Any) -> Any:
    if isinstance(value, Tensor) and value.ndim == 4 and value.is_floating_point():
        return value.contiguous(memory_format=torch.channels_last)
    return value
