"""Ranks on this machine, over gloo: the time of a step, memory and bytes of each rank."""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from scaling.points import MEMORY, Study, Values, memory

from lab.data.datamodule import LoadPlan
from lab.errors import LabError
from lab.strategies.collectives import sum_over_ranks
from lab.strategies.ddp import DDP
from lab.strategies.environment import ManagedEnvironment
from lab.strategies.fsdp import FSDPStrategy
from lab.system.ranks import Place
from lab.tasks.detection.data.shapes import ShapesDataModule
from lab.tasks.detection.task import DetectionTask

STRATEGIES = {"ddp": DDP, "fsdp": FSDPStrategy}
NET = {
    "_target_": "detr_tiny",
    "embed_dim": 256,
    "num_heads": 8,
    "feedforward_dim": 2048,
    "num_encoder_layers": 3,
    "num_decoder_layers": 3,
}
ADAMW = {"name": "adamw", "lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-4}
ADAMW |= {"no_decay_norm_bias": True, "groups": []}
BATCH, WARM, STEPS = 8, 1, 5


def sent() -> int:
    """Return the bytes that this process has written by ``write``, gloo's to its sockets among them."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise OSError("/proc/self/io has no wchar")


class Watch(pl.Callback):
    """Measures the steps after the first ones."""

    def __init__(self) -> None:
        self.begin = (0.0, 0.0, 0)
        self.values: Values = {}

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Note the clocks."""
        now = time.monotonic(), time.process_time(), sent()
        if trainer.global_step == WARM:
            self.begin = now
        elif trainer.global_step == trainer.max_steps:
            wall, processor, written = ((end - start) / STEPS for end, start in zip(now, self.begin, strict=True))
            self.values = {"step, wall s": wall, "step, s": processor, "sent in a step, MiB": written / 2**20}


def train(strategy: str, rank: int, ranks: int) -> Values:
    """Train this rank's share, and return the numbers that rank zero reports: the mean or the largest of all."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    before = memory()
    pl.seed_everything(0, verbose=False)
    data = ShapesDataModule(batch_size=BATCH, image_size=64, num_train=256, num_val=4, num_test=4)
    schedule = {"name": "constant", "warmup_steps": 0}
    task = DetectionTask(NET, data.spec.to_plain(), ADAMW, schedule, WARM + STEPS, {"name": "none"})
    plan = LoadPlan(WARM + STEPS, 0, 1, rank, ranks, task.totals)
    data.plan = replace(plan, reduce=lambda values: sum_over_ranks(values, 1)) if ranks > 1 else plan
    count = sum(item.numel() for item in task.parameters())
    watch = Watch()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=STRATEGIES[strategy](),
        plugins=[ManagedEnvironment(Place(rank, rank, ranks, ranks))],
        max_epochs=1,
        max_steps=WARM + STEPS,
        gradient_clip_val=0.1,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    trainer.fit(task, datamodule=data)
    own = {**watch.values, "memory of a rank, MiB": memory("VmHWM") - before}
    largest = torch.tensor(list(own.values()), dtype=torch.float64)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return {"parameters": float(count)} | dict(zip(own, largest.tolist(), strict=True))


def measure(strategy: str, ranks: int, scratch: Path) -> Values:
    """Measure a global batch of 8 images on some ranks; this process is rank 0."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(ranks + 8)
        port, others = listening.getsockname()[1], []
        for rank in range(1, ranks):
            if (child := os.fork()) == 0:
                _other(strategy, rank, ranks, port)
            others.append(child)
        _meet(0, ranks, port, os.dup(listening.fileno()))
        found = train(strategy, 0, ranks)
        dist.destroy_process_group()
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in others]
    if any(codes):
        raise LabError(f"ranks ended with {codes}")
    return found | {MEMORY: found.pop("memory of a rank, MiB")}


def _other(strategy: str, rank: int, ranks: int, port: int) -> None:
    code = 1
    try:
        _meet(rank, ranks, port, None)
        train(strategy, rank, ranks)
        dist.destroy_process_group()
        code = 0
    finally:
        os._exit(code)


def _meet(rank: int, ranks: int, port: int, listening: int | None) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(ranks))
    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, ranks, is_master=rank == 0, master_listen_fd=listening)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)


STUDIES = [
    Study(f"{name}, 8 images of 64 px", "ranks", (1, 2, 4), (1, 2), partial(measure, name)) for name in STRATEGIES
]
