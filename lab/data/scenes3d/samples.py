"""The base of the datasets that make a kind's samples of street scenes; what is read again is kept in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch

from lab.data.scenes3d.frames import StreetFrame, StreetScenes

SampleT = TypeVar("SampleT")


class StreetSamples(torch.utils.data.Dataset[SampleT], ABC, Generic[SampleT]):
    """Samples of scenes, one for each; a subclass implements ``make``.

    Samples of an evaluation, and all if the scenes repeat, are kept once they were made, in each loader process.

    Args:
        scenes: what the samples are made of.
    """

    def __init__(self, scenes: StreetScenes) -> None:
        self.scenes = scenes
        self._kept: dict[int, SampleT] = {}

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return len(self.scenes)

    @property
    def aspect_ratios(self) -> None:
        """None: all pictures have the same size."""
        return

    def fingerprint(self) -> str:
        """Return everything that the samples depend on, in one line."""
        return self.scenes.fingerprint()

    def __getitem__(self, key: tuple[int, int]) -> SampleT:
        """Return the sample for ``(epoch, index)``."""
        if not self.scenes.repeats:
            return self.make(self.scenes[key])
        index = key[1]
        if index not in self._kept:
            self._kept[index] = self.make(self.scenes[key])
        return self._kept[index]

    @abstractmethod
    def make(self, frame: StreetFrame) -> SampleT:
        """Return the sample of a scene."""
