"""The base of the datasets that make a kind's samples of generated scenes."""

from __future__ import annotations

from typing import TypeVar

import torch

from lab.data.scenes.shapes import ShapesDataset

SampleT = TypeVar("SampleT", covariant=True)


class SceneSamples(torch.utils.data.Dataset[SampleT]):
    """Samples of scenes, one for each; a subclass implements ``__getitem__``.

    Args:
        scenes: what the samples are made of.
    """

    def __init__(self, scenes: ShapesDataset) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return len(self.scenes)

    @property
    def aspect_ratios(self) -> None:
        """None: all images are square."""
        return

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return self.scenes.fingerprint()
