"""Which parameters of a network train from which optimizer step on; the others are frozen until then, or for good.

Gradual unfreezing from the head down: Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification",
ACL 2018, section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Any

from torch import nn

from lab.errors import ConfigError, closest
from lab.training.layer_decay import layer_numbers

HEAD = "head"
"""A pattern that stands for the head of any registered model, whatever it is called there."""


@dataclass(frozen=True)
class TrainedPart:
    """From the optimizer step ``step`` on these parameters train; ``label`` says what the stage adds."""

    step: int
    names: frozenset[str]
    label: str


@dataclass(frozen=True)
class Freezing:
    """What trains when.

    Attributes:
        stages: in ascending order of their steps, the first one at step 0; each keeps what the one before it trains.
        sizes: the number of elements of each parameter of the network, frozen ones included.
    """

    stages: tuple[TrainedPart, ...]
    sizes: Mapping[str, int]

    @property
    def ever(self) -> frozenset[str]:
        """The parameters that train at some step."""
        return self.stages[-1].names

    def at(self, step: int) -> TrainedPart:
        """Return the stage of an optimizer step (0 is the first)."""
        return next(stage for stage in reversed(self.stages) if stage.step <= step)

    def describe(self, stage: TrainedPart) -> str:
        """Return in one line what trains in a stage."""
        trained = sum(self.sizes[name] for name in stage.names)
        return f"{trained:,} of {sum(self.sizes.values()):,} parameters train from step {stage.step}: {stage.label}"

    def freeze_for_good(self, net: nn.Module) -> None:
        """Take the gradient from parameters that never train; before the strategy and the optimizer see the network."""
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name in self.ever)


def make_freezing(net: nn.Module, settings: Mapping[str, Any], heads: Sequence[str], steps_per_epoch: int) -> Freezing:
    """Return what the config's group ``callbacks.unfreeze`` means for a network.

    Args:
        net: parameters that it does not train anyway stay frozen.
        settings: ``train``, and perhaps ``stages`` or ``every``.
        heads: names of the modules that are the network's head.
        steps_per_epoch: optimizer steps of an epoch.

    Raises:
        ConfigError: a pattern matches nothing, stages are in no ascending order, or there are no layers to unfreeze.
    """
    names = {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}
    first = TrainedPart(0, _matched(settings["train"], "train", net, names, heads), ", ".join(settings["train"]))
    later = [*_given(settings, net, names, heads, steps_per_epoch), *_from_the_top(settings, net, names, first)]
    for stage, following in zip([first, *later], later, strict=False):
        if following.step <= stage.step:
            raise ConfigError(
                f"callbacks.unfreeze.stages: step {following.step} comes after step {stage.step}; steps must ascend"
            )
    stages = accumulate([first, *later], lambda one, two: replace(two, names=one.names | two.names))
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    return Freezing(tuple(stages), sizes)


def _given(
    settings: Mapping[str, Any], net: nn.Module, names: Mapping[str, Any], heads: Sequence[str], steps_per_epoch: int
) -> list[TrainedPart]:
    stages = []
    for number, stage in enumerate(settings.get("stages", ())):
        step = stage.get("step")
        step = stage["epoch"] * steps_per_epoch if step is None else step
        found = _matched(stage["train"], f"stages.{number}.train", net, names, heads)
        stages.append(TrainedPart(step, found, f"also {', '.join(stage['train'])}"))
    return stages


def _from_the_top(
    settings: Mapping[str, Any], net: nn.Module, names: Mapping[str, Any], first: TrainedPart
) -> list[TrainedPart]:
    """Return a stage for each layer that the first stage does not train, the uppermost first."""
    every = settings.get("every")
    if every is None:
        return []
    asked = f"callbacks.unfreeze.every={every}"
    layers = layer_numbers(net, asked, "name the stages in callbacks.unfreeze.stages")
    stages: list[TrainedPart] = []
    for layer in sorted(set(layers.values()), reverse=True):
        found = [name for name, parameter in names.items() if layers[id(parameter)] == layer]
        if set(found) - first.names:
            stages.append(TrainedPart(every * (len(stages) + 1), frozenset(found), f"also {_common(found)}"))
    return stages


def _common(names: Sequence[str]) -> str:
    """Return the modules that names have in common, in short."""
    parts = [name.rpartition(".")[0].split(".") for name in names]
    shared = [column[0] for column in zip(*parts, strict=False) if len(set(column)) == 1]
    return ".".join(shared) or ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))


def _matched(
    patterns: Sequence[str], key: str, net: nn.Module, names: Mapping[str, Any], heads: Sequence[str]
) -> frozenset[str]:
    """Return the parameters whose name, or the name of a module around them, matches a pattern."""
    everything = [name for name, _ in net.named_parameters()]
    found: set[str] = set()
    for pattern in patterns:
        wanted = tuple(heads) if pattern == HEAD and heads else (pattern,)
        hits = {name for name in everything if any(fnmatchcase(path, one) for path in _paths(name) for one in wanted)}
        if not hits & names.keys():
            tops = dict.fromkeys(name.partition(".")[0] for name in names)
            near = closest(pattern, tops) or f"; it has {', '.join(list(tops)[:12])}"
            what = "the network itself keeps it frozen" if hits else f"no parameter or module has such a name{near}"
            raise ConfigError(f"callbacks.unfreeze.{key}: {pattern!r} matches nothing: {what}")
        found |= hits & names.keys()
    return frozenset(found)


def _paths(name: str) -> list[str]:
    """Return the names of the modules around a parameter, the outermost first, and its own."""
    return list(accumulate(name.split("."), lambda one, two: f"{one}.{two}"))
