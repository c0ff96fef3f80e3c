"""The base of all DataModules: it turns the three datasets (train, val, test) into exact, resumable loaders."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from lab.data.loader import Reduce, Totals, TrainStream, eval_loader
from lab.data.sampler import EvalBatches, TrainBatches, choose
from lab.structures import DataSpec, KeyedDataset, Table


@dataclass(frozen=True)
class LoadPlan:
    """Which samples a run reads, and when. ``lab.experiment.assembly.give_plan`` sets it before loaders are made.

    Attributes:
        max_steps: optimizer step to stop at.
        start_step: optimizer step to begin at.
        accumulate: micro-batches per optimizer step.
        rank: the rank of this process.
        world_size: number of processes.
        totals: returns a batch's share of the normalisers of the loss: ``Task.totals``.
        reduce: adds up normalisers over the ranks with different samples.
        overfit_batches: train only on this many global batches, the first ones; 0 for all.
        limit_train: use this share of an epoch (float) or this many global batches (int); None for all.
        limit_eval: the same for evaluation.
        max_eval: evaluate at most this many samples, chosen at random; None for all.
        eval_seed: the seed of that choice.
    """

    max_steps: int = 1
    start_step: int = 0
    accumulate: int = 1
    rank: int = 0
    world_size: int = 1
    totals: Totals | None = None
    reduce: Reduce = dict
    overfit_batches: int = 0
    limit_train: float | int | None = None
    limit_eval: float | int | None = None
    max_eval: int | None = None
    eval_seed: int = 0


class DataModule(pl.LightningDataModule, ABC):
    """Base of all DataModules: a subclass builds the datasets, the base class makes the loaders.

    A subclass names its ``task`` and implements ``build(split)`` for ``"train"``, ``"val"`` and ``"test"``, which
    returns a ``KeyedDataset`` of samples with ``fingerprint()``; ``collate``, which makes a batch of samples; ``spec``,
    from which the network is sized; and ``build_inputs(paths)`` for prediction. Datasets are built on first use.

    Args:
        batch_size: the global batch size.
        num_workers: loader processes per rank; 0 loads in the training process.
        seed: decides the order of the samples and the augmentation.

    Attributes:
        task: the kind of problem.
        sample_name: the word for one sample in messages.
        plan: which samples the run reads; by default one process and all samples.
    """

    task: str
    sample_name = "sample"

    def __init__(self, batch_size: int, num_workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.plan = LoadPlan()
        self._datasets: dict[str, Any] = {}

    @abstractmethod
    def build(self, split: str) -> Any:
        """Return the dataset of a split."""

    @abstractmethod
    def collate(self, samples: Sequence[Any]) -> Any:
        """Put samples together into a batch."""

    @abstractmethod
    def build_inputs(self, paths: list[Path]) -> KeyedDataset:
        """Return a dataset of these files, prepared as in evaluation."""

    def dataset(self, split: str) -> Any:
        """Return the dataset of a split, built once."""
        if split not in self._datasets:
            self._datasets[split] = self.build(split)
        return self._datasets[split]

    @property
    @abstractmethod
    def spec(self) -> DataSpec:
        """The description of the data, a subclass of ``DataSpec``; the task sizes its network from it."""

    def follow(self, spec: DataSpec) -> None:
        """Prepare samples as the data of a checkpoint did, before the checkpoint is measured or predicts.

        Data whose samples depend on what the training data held, as tokens do on their vocabulary, overrides it.

        Args:
            spec: the description of that data, from the checkpoint.

        Raises:
            LabError: this data cannot be prepared so.
        """

    def fingerprint(self) -> str:
        """Return a string that identifies the content of the data: a different string means different data."""
        parts = "\n".join(self.dataset(split).fingerprint() for split in ("train", "val", "test"))
        return hashlib.sha256(parts.encode()).hexdigest()

    def steps_per_epoch(self, plan: LoadPlan | None = None) -> int:
        """Return the optimizer steps of an epoch under a plan, with its ``limit_train``; None for ``self.plan``."""
        return int(self._batches(plan or self.plan).steps_per_epoch)

    def train_dataloader(self) -> TrainStream[Any]:
        """Return the stream of micro-batches from the plan's first step to its last."""
        batches = self._batches(self.plan)
        self.plan_training(batches)
        return TrainStream(
            self.dataset("train"),
            batches,
            self.collate,
            self.plan.totals,
            self.num_workers,
            pin_memory=torch.cuda.is_available(),
            repeat=self.plan.overfit_batches,
            reduce=self.plan.reduce,
            at_step=self.at_step,
        )

    def plan_training(self, batches: TrainBatches) -> None:
        """Prepare the training set for what will be read of it; most data has nothing to prepare.

        Args:
            batches: what is read. Its length, global batches and last step are the same on all ranks.
        """

    def at_step(self, batch: Any, step: int | None) -> Any:
        """Return a micro-batch with what depends on its optimizer step; most data has nothing that does.

        Args:
            batch: of this rank.
            step: counted from 0, the same on all ranks; None: the step that needs the most memory.
        """
        return batch

    def first_batch(self) -> Any:
        """Return this rank's first micro-batch, without ``totals``; it is loaded in this process."""
        self.plan_training(self._batches(self.plan))
        keys = next(iter(self._batches(replace(self.plan, max_steps=self.plan.start_step + 1))))
        return self.at_step(self.collate([self.dataset("train")[key] for key in keys]), None)

    def train_keys(self) -> Iterator[list[Any]]:
        """Return the keys of this rank's training samples, a micro-batch at a time, as its loader reads them."""
        batches = self._batches(self.plan)
        self.plan_training(batches)
        return iter(batches)

    def unaugmented(self, split: str, prepared: bool) -> Any:
        """Return the dataset of a split without augmentation, to look at it; most data has nothing that augments.

        Args:
            split: of the data.
            prepared: samples are as an evaluation reads them; else as they are stored, of any size.
        """
        return self.dataset(split)

    def sample_weights(self) -> Sequence[float] | None:
        """Return the chance of each sample of the training set, of any sum; None: an epoch has each once."""
        return None

    def tables(self) -> dict[str, Table]:
        """Return tables on how the data was prepared, by name."""
        return {}

    def rows_read(self) -> dict[str, dict[str, Any]]:
        """Return the numbers of rows read, used and left out (``Events.report``) of each table file, by its name."""
        return {}

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation batches."""
        return self._eval("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test batches."""
        return self._eval("test")

    def input_dataloader(self, paths: list[Path]) -> DataLoader[Any]:
        """Return batches of the input files of ``stage=predict``."""
        return self.dataset_dataloader(self.build_inputs(paths))

    def dataset_dataloader(self, dataset: KeyedDataset) -> DataLoader[Any]:
        """Return this rank's batches of a dataset, as in evaluation."""
        return self._eval_loader(dataset, None)

    def _batches(self, plan: LoadPlan) -> TrainBatches:
        data = self.dataset("train")
        length, ratios, weights = len(data), data.aspect_ratios, self.sample_weights()
        if plan.limit_train is not None:
            share = plan.limit_train
            wanted = int(length * share) if isinstance(share, float) else share * self.batch_size
            length = min(length, max(wanted, self.batch_size))
            ratios = None if ratios is None else ratios[:length]
            weights = None if weights is None else weights[:length]
        return TrainBatches(
            length,
            self.batch_size,
            self.seed,
            plan.max_steps,
            plan.start_step,
            plan.accumulate,
            plan.rank,
            plan.world_size,
            ratios,
            weights,
        )

    def _eval(self, split: str) -> DataLoader[Any]:
        return self._eval_loader(self.dataset(split), self.plan.limit_eval, self.plan.max_eval)

    def _eval_loader(
        self, dataset: KeyedDataset, limit: float | int | None, most: int | None = None
    ) -> DataLoader[Any]:
        plan = self.plan
        chosen = choose(len(dataset), most, plan.eval_seed)
        batches = EvalBatches(len(dataset), self.batch_size, plan.rank, plan.world_size, limit, chosen)
        return eval_loader(dataset, batches, self.collate, self.num_workers, torch.cuda.is_available())
