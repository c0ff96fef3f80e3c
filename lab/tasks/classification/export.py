"""How classifiers are exported (``scripts/export.py``): logits."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lab.errors import ExportError
from lab.export.description import ResizeRule
from lab.export.engine import EngineNetwork, EngineOutputs
from lab.export.network import Inputs, KindOfExport
from lab.imagenet import IMAGENET_MEAN, IMAGENET_STD

SIDE = 224
"""Pixels of the images of a network that says nothing."""


class EngineClassifier(EngineNetwork):
    """An exported classifier as ``Classifier``."""

    def joined(self, found: list[EngineOutputs]) -> Tensor:
        """Return the logits (B, K)."""
        return torch.stack([logits for (logits,), _ in found])


class ClassifierExport(KindOfExport):
    """A classifier gives K logits for each image: a softmax makes them probabilities, of several labels a sigmoid."""

    outputs: ClassVar = {"logits": "(batch, classes)"}
    engine = EngineClassifier

    def tensors(self, net: nn.Module, given: Tensor, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (B, K).

        Raises:
            ExportError: the network returns something else: it is a backbone.
        """
        logits = net(given)
        if not isinstance(logits, Tensor):
            raise ExportError(f"{type(net).__name__} returns {type(logits).__name__}, not logits: it is no classifier")
        return (logits,)

    def inputs(self, net: nn.Module, task: Any = None) -> Inputs:
        """Return the statistics of the data, or ImageNet's, and how evaluation resizes images."""
        if task is None:
            side = getattr(net, "image_size", SIDE)
            size = (side, side) if isinstance(side, int) else (side[0], side[1])
            return Inputs((IMAGENET_MEAN, IMAGENET_STD), ResizeRule(), size, {})
        spec = task.spec
        rule = ResizeRule("crop" if spec.resize else "stretch", spec.resize, 0, spec.interpolation)
        thresholds = {"threshold": task.threshold} if spec.multilabel else {}
        return Inputs((spec.mean, spec.std), rule, (spec.input_shape[1], spec.input_shape[2]), thresholds)
