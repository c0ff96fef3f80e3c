"""The base of the DataModules of fields: normalisation, batches, inputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lab.data.datamodule import DataModule
from lab.errors import DataError
from lab.ranges import Count, Positive, Seed
from lab.structures import DataSpec, KeyedDataset
from lab.structures.operator_learning import FieldBatch, FieldSpec
from lab.tasks.operator_learning.data.inputs import FieldInputs
from lab.tasks.operator_learning.data.samples import collate_fields


@dataclass(eq=False)
class FieldDataModule(DataModule):
    """Base of the DataModules of fields: a subclass implements ``own_spec`` and ``build``.

    ``build(split)`` returns a ``KeyedDataset`` of ``FieldSample`` with ``fingerprint()``, in the channels' units:
    ``collate`` normalises them. Training samples have ``train_steps`` targets, the others ``eval_steps``; samples of a
    steady problem have one.

    Args:
        batch_size: the global batch size in samples.
        num_workers: loader processes per rank.
        seed: decides the order of the samples, and what is generated or held out.
        train_steps: steps after the start that a training sample has.
        eval_steps: steps after the start that are measured: the lead times.
    """

    task = "operator_learning"
    sample_name = "field"

    _: KW_ONLY
    batch_size: Positive = 32
    num_workers: Count = 0
    seed: Seed = 0
    train_steps: Positive = 1
    eval_steps: Positive = 1

    def __post_init__(self) -> None:
        super().__init__(self.batch_size, self.num_workers, self.seed)
        self._followed: FieldSpec | None = None

    @property
    @abstractmethod
    def own_spec(self) -> FieldSpec:
        """The description of the data itself, with the means and deviations of its training fields."""

    @property
    def spec(self) -> FieldSpec:
        """The description by which samples are normalised: that of a checkpoint that is followed, else its own."""
        return self._followed or self.own_spec

    def steps_of(self, split: str) -> int:
        """Return the steps after the start that a sample of a split has."""
        return self.train_steps if split == "train" else self.eval_steps

    def follow(self, spec: DataSpec) -> None:
        """Normalise as the data of a checkpoint did.

        Raises:
            DataError: its network reads or predicts other channels, or steps of another length.
        """
        assert isinstance(spec, FieldSpec)
        own = self.own_spec
        names = {"reads": (spec.given, own.given), "predicts": (spec.channels, own.channels)}
        names["also reads"] = (spec.forcings, own.forcings)
        for what, (theirs, ours) in names.items():
            if theirs != ours:
                raise DataError(
                    f"the network of the checkpoint {what} {', '.join(theirs) or 'nothing'}, and data has "
                    f"{', '.join(ours) or 'nothing'}"
                )
        if (spec.step, spec.step_unit) != (own.step, own.step_unit):
            raise DataError(
                f"a step of the checkpoint's network is {spec.step:g} {spec.step_unit}, and one of the data "
                f"{own.step:g} {own.step_unit}".replace(" ,", ",").rstrip()
            )
        self._followed = spec

    def collate(self, samples: Sequence[Any]) -> FieldBatch:
        """Put samples together into a batch, normalised."""
        return collate_fields(samples, self.spec)

    def known_forcings(self, grid: tuple[int, ...], time: int | None) -> Tensor | None:
        """Return forcings (``eval_steps``, F, *grid), normalised, for an input; None where only a file can tell them.

        Args:
            grid: of the input.
            time: seconds since 1970 of the input; None where the file does not say.
        """
        return None

    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return the fields of ``.npz`` and ``.npy`` files, to predict from; see ``FieldInputs``."""
        return FieldInputs(paths, self.spec, self.known_forcings)
