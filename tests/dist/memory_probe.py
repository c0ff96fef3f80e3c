"""Trains a model in a fresh process and says what the planner had expected and what was there.

``python -m tests.dist.memory_probe STRATEGY RANKS [WORDS]`` prints a row of the table in lab/strategies/README.md.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.distributed import run_distributed

MIB = 2**20
MODEL = (
    "trainer=cpu",
    "callbacks=default",
    "callbacks.progress=false",
    "scheduler=constant",
    "model.net.embed_dim=512",
    "model.net.num_heads=8",
    "model.net.feedforward_dim=4096",
    "model.net.num_encoder_layers=4",
    "model.net.num_decoder_layers=4",
    "data.batch_size=8",
    "trainer.max_steps=2",
)
"""Words of two steps of a detr_tiny with 53.5 M parameters."""


def probe(rank: int, strategy: str, world_size: int, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """Train on this rank; return bytes: the estimate's parts, tensors counted after a step, growth of the process."""
    import lightning.pytorch as pl
    import torch

    from lab.experiment import assembly, planning
    from lab.launch.prepare import prepare_job
    from lab.strategies.memory import estimate
    from lab.system.ranks import Place

    place = Place(rank, rank, world_size, world_size)
    given = [*MODEL, f"strategy={strategy}", f"trainer.devices={world_size}", *words]
    config = prepare_job(given, []).config
    assembly.prepare(config)
    data = assembly.build_data(config)
    plan = assembly.make_plan(config, data, place)
    assembly.give_plan(data, plan.load)
    with torch.device("meta"):
        twin = assembly.build_task(config, data, plan.schedule_steps)
    work = planning.with_activations(planning.describe(config, twin, True), config, twin, data)
    expected = estimate(work, config["strategy"], world_size)
    before = status("VmRSS")
    task = assembly.build_task(config, data, plan.schedule_steps)
    assembly.give_plan(data, plan.load, task)
    trainer = pl.Trainer(
        **assembly.device_arguments(config, place),
        max_epochs=1,
        max_steps=plan.max_steps,
        limit_val_batches=0,
        gradient_clip_val=0.1,
        logger=False,
        **assembly.QUIET,
    )
    trainer.fit(task, datamodule=data)
    peak = status("VmHWM") - before
    return {
        "parameters": expected.parameters,
        "gradients": expected.gradients,
        "optimizer": expected.optimizer,
        "activations": expected.activations,
        "scratch": expected.scratch,
        "total": expected.total,
        "counted": count(task, trainer) if "zero" not in strategy else {},
        "saved": saved_for_real(config, data) if strategy == "single" else 0,
        "peak": peak,
    }


def count(task: Any, trainer: Any) -> dict[str, int]:
    """Return the bytes of parameters, gradients and optimizer states that this rank holds."""
    local = [p.to_local() if hasattr(p, "to_local") else p for p in task.parameters()]
    grads = [p.grad for p in task.parameters() if p.grad is not None]
    states = [v for state in trainer.optimizers[0].state.values() for v in state.values()]
    return {
        "parameters": sum(tensor.nbytes for tensor in local),
        "gradients": sum((g.to_local() if hasattr(g, "to_local") else g).nbytes for g in grads),
        "optimizer": sum((s.to_local() if hasattr(s, "to_local") else s).nbytes for s in states),
    }


def saved_for_real(config: dict[str, Any], data: Any) -> int:
    """Return the bytes that autograd saves in a forward pass that computes, its loss included."""
    import torch

    from lab.experiment import assembly
    from lab.strategies.activations import Saved
    from lab.training.terms import divided

    task, batch, saved = assembly.build_task(config, data, 1), data.first_batch(), Saved()
    saved.forget([*task.parameters(), *task.buffers()])
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        _, terms = task.terms(batch)
        sum(divided(terms, task.totals(batch)).values())
    return saved.total + sum(tensor.nbytes for tensor in vars(batch).values() if isinstance(tensor, torch.Tensor))


def status(key: str) -> int:
    """Return a size of this process: ``VmRSS`` now, ``VmHWM`` the largest so far."""
    with open("/proc/self/status", encoding="utf-8") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))


def run(strategy: str, world_size: int, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return rank 0's probe; the processes give memory that they free back to the system at once."""
    variables = {"MALLOC_MMAP_THRESHOLD_": str(MIB)}
    return run_distributed(probe, world_size, (strategy, world_size, words), fresh=variables)[0]


if __name__ == "__main__":
    found = run(sys.argv[1], int(sys.argv[2]), tuple(sys.argv[3:]))
    parts = ("parameters", "gradients", "optimizer", "activations", "scratch", "total", "peak")
    print(f"| {sys.argv[1]} on {sys.argv[2]} | " + " | ".join(f"{found[part] / MIB:.0f}" for part in parts), end=" |")
    print(f" {found['total'] / found['peak']:.2f} | counted", {k: round(v / MIB) for k, v in found["counted"].items()})
