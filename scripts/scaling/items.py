"""Recommenders by the number of items: training steps and the ranking of all items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.gru4rec import ALPHA, RATE, WIDTH
from benchmarks.pairs import loss_of
from benchmarks.sasrec import ADAM, make_batch
from scaling.points import Study, Values, seconds
from torch import Tensor

from lab import create_model
from lab.structures import SequenceBatch
from lab.tasks.recommendation.data.lanes import LaneSchedule, LaneSteps
from lab.tasks.recommendation.ranks import rank_targets
from lab.training.optimizers import make_optimizer
from lab.training.terms import divided

SIZES, QUICK = (10_000, 100_000, 1_000_000), (1_000, 3_000)
LENGTH, BATCH, QUERIES, TOP, LANES, STEPS = 50, 128, 256, 10, 128, 20


def rank(net: Any, batch: SequenceBatch, count: int) -> None:
    """Rank the target of the last event of each sequence among all items, with lists of the best, as a test does."""
    rows = torch.arange(len(batch.items))
    queries = torch.stack([rows, batch.lengths - 1], 1)
    targets: Tensor = batch.targets.items[rows, batch.lengths - 1]
    with torch.no_grad():
        states = net.encode(batch, queries)
        rank_targets(lambda part, items: net.score(states[part], items), targets, count, top=TOP)


def sasrec_step(count: int, scratch: Path, loss: str = "bce") -> Values:
    """Measure forward, loss, backward and Adam of a batch of sequences."""
    torch.manual_seed(0)
    net: Any = create_model("sasrec", num_items=count, max_length=LENGTH, loss=loss).train()
    optimizer = make_optimizer(net, ADAM, private=True)
    batch = make_batch(BATCH, LENGTH, count)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(net, net(batch), batch.targets).backward()
        optimizer.step()

    return {"step, s": seconds(step)}


def sasrec_all(count: int, scratch: Path) -> Values:
    """Measure a step with the cross-entropy over all items."""
    return sasrec_step(count, scratch, "ce")


def sasrec_rank(count: int, scratch: Path) -> Values:
    """Measure the evaluation of 256 sequences."""
    torch.manual_seed(0)
    net = create_model("sasrec", num_items=count, max_length=LENGTH).eval()
    batch = make_batch(QUERIES, LENGTH, count)
    return {"evaluation, s": seconds(lambda: rank(net, batch, count))}


def gru4rec_rank(count: int, scratch: Path) -> Values:
    """Measure the evaluation of 256 sequences."""
    torch.manual_seed(0)
    net = create_model("gru4rec", num_items=count, layers=[WIDTH]).eval()
    batch = make_batch(QUERIES, LENGTH, count)
    return {"evaluation, s": seconds(lambda: rank(net, batch, count))}


def gru4rec_step(count: int, scratch: Path) -> Values:
    """Measure 20 steps with 2,048 negatives, with data and Adagrad."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    lengths = generator.geometric(0.3, 20_000) + 1
    items = generator.integers(1, count + 1, int(lengths.sum()))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    schedule = LaneSchedule.of_sessions(offsets, items, np.arange(len(lengths)), LANES)
    data = LaneSteps(schedule, np.bincount(items, minlength=count + 1)[1:], 2048, ALPHA)
    net: Any = create_model("gru4rec", num_items=count, layers=[WIDTH], logq=1.0).train()
    settings = {"name": "adagrad", "lr": RATE, "momentum": 0.0, "eps": 1e-6, "weight_decay": 0.0}
    optimizer = make_optimizer(net, {**settings, "no_decay_norm_bias": False, "groups": []}, private=True)
    numbers = iter(range(len(schedule)))

    def steps() -> None:
        for _ in range(STEPS):
            batch = data[0, next(numbers)]
            totals = net.totals(batch.targets)
            (loss,) = divided(net.loss(net(batch), batch.targets), totals).values()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return {"20 steps, s": seconds(steps, rounds=3)}


STUDIES = [
    Study("SASRec, 128 sequences, bce, Adam", "items", SIZES, QUICK, sasrec_step),
    Study("SASRec, 128 sequences, ce, Adam", "items", SIZES, QUICK, sasrec_all),
    Study("SASRec, 256 queries among all", "items", SIZES, QUICK, sasrec_rank),
    Study("GRU4Rec, 128 lanes, Adagrad", "items", SIZES, QUICK, gru4rec_step),
    Study("GRU4Rec, 256 queries among all", "items", SIZES, QUICK, gru4rec_rank),
]
