"""``strategy=auto`` in a run: what the planner asks for is measured here, and its choice takes the config's place."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lab.compat.torch import tree_leaves
from lab.config.defaults import group_options
from lab.data.datamodule import DataModule
from lab.errors import ConfigError
from lab.experiment.assembly import on_gpu
from lab.report.tables import print_sizes
from lab.strategies import collectives
from lab.strategies.activations import count_saved
from lab.strategies.build import IN_ONE_PROCESS
from lab.strategies.memory import Weight, Workload, estimate
from lab.strategies.planner import GIB, HEADROOM, Choice, Machine, Row, candidates, pick, table
from lab.system.memory import available_memory
from lab.system.ranks import Place
from lab.training.task import Task

BYTES = {"64": 8, "bf16-true": 2}
"""Bytes of an element of a parameter, where they are not 4."""
AT_ONCE = 0.5
"""One device is enough, without a look at activations, where everything else takes less than this share of it."""


def settle_strategy(
    config: dict[str, Any],
    task: Task,
    data: DataModule,
    place: Place,
    training: bool = True,
    before: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Put the planner's choice in the place of ``strategy=auto``; rank 0 decides for all.

    Args:
        config: the resolved config.
        task: what is to run, on the CPU.
        data: with the plan of this rank.
        place: this process among those of the job.
        training: whether it is trained.
        before: what an earlier part of the same training ran with, as returned; it is kept where the devices are as
            many.

    Returns:
        The config with the chosen strategy, and what the run's record says: ``name`` and ``reason``.

    Raises:
        ConfigError: nothing fits; on every rank.
    """
    settings = config["strategy"]
    if settings["name"] != "auto":
        return config, {"name": settings["name"], "reason": "as configured"}
    word: tuple[str, Any] = ("", None)
    if place.rank == 0:
        try:
            word = ("chosen", _choose(config, task, data, place, training, before))
        except ConfigError as error:
            word = ("refused", str(error))
    kind, found = collectives.from_rank_zero(word)
    if kind == "refused":
        raise ConfigError(found)
    if place.rank == 0:
        print(f"strategy  {found.name}: {found.reason}")
    if place.world_size == 1 and found.name not in IN_ONE_PROCESS:
        stack = ExitStack()
        stack.enter_context(collectives.process_group(place, on_gpu(config)))
        atexit.register(stack.close)
    record = {"name": found.name, "reason": found.reason, "devices": place.world_size, "settings": found.settings}
    return {**config, "strategy": found.settings}, record


def _choose(
    config: Mapping[str, Any],
    task: Task,
    data: DataModule,
    place: Place,
    training: bool,
    before: Mapping[str, Any] | None,
) -> Choice:
    if before and before.get("devices") == place.world_size and "settings" in before:
        return Choice(dict(before["settings"]), before["reason"])
    machine = find_machine(config, place, parameter_bytes(task.net))
    options = group_options("strategy")
    work = describe(config, task, training)
    if place.world_size == 1 and estimate(work, options["single"], 1).total < AT_ONCE * machine.memory:
        return Choice(options["single"], "one device")
    if training:
        work = with_activations(work, config, task, data)
    return pick(rows_of(config, work, machine), machine)


def print_plan(config: Mapping[str, Any], task: Task, data: DataModule, place: Place) -> None:
    """Print the planner's table for a config whatever its strategy, the strategy that would run marked by an arrow.

    Args:
        config: the resolved config.
        task: on the meta device, say.
        data: with the plan of a rank among all of the job.
        place: of that rank.

    Raises:
        ConfigError: the strategy is ``auto`` and nothing fits.
    """
    machine = find_machine(config, place)
    work = with_activations(describe(config, task, training=True), config, task, data)
    rows = rows_of(config, work, machine)
    auto = config["strategy"]["name"] == "auto"
    where = "one device" if machine.ranks == 1 else f"each of {machine.ranks} devices"
    print_sizes(
        f"GiB on {where}, by estimate; {HEADROOM:.0%} of {machine.memory / GIB:.3g} are given out",
        "sum counts the larger of activations (of a micro-batch) and step (copies that the optimizer makes)",
        ("parameters", "gradients", "optimizer", "activations", "step", "sum", *(["host"] if machine.host else [])),
        {row.name: _cells(row, machine) for row in rows},
        next((row.name for row in rows if row.fits), None) if auto else config["strategy"]["name"],
    )
    if auto:
        pick(rows, machine)


def _cells(row: Row, machine: Machine) -> tuple[list[float], str]:
    needs = row.needs
    sizes: tuple[int, ...] = (
        needs.parameters,
        needs.gradients,
        needs.optimizer,
        needs.activations,
        needs.scratch,
        needs.total,
    )
    sizes = (*sizes, needs.host) if machine.host else sizes
    return [size / GIB for size in sizes], row.obstacle or ("fits" if row.fits else "too large")


def of_many(config: Mapping[str, Any]) -> Place:
    """Return the place of rank 0 among the ranks that a config asks for, for who looks at it alone."""
    trainer = config["trainer"]
    here = 1 if config["strategy"]["name"] == "dp" else trainer["devices"]
    return Place(world_size=here * trainer["num_nodes"], local_world_size=here)


def rows_of(config: Mapping[str, Any], work: Workload, machine: Machine) -> list[Row]:
    """Return a row for each candidate of a config."""
    chosen = candidates(group_options("strategy"), config["strategy"], machine)
    return table(work, machine, chosen, config["trainer"])


def find_machine(config: Mapping[str, Any], place: Place, held: int = 0) -> Machine:
    """Return the devices of a job: rank 0's stands for all.

    Args:
        config: the resolved config; ``strategy.memory_gib`` overrides what is measured.
        place: of a rank of the job.
        held: bytes of the host's memory that this process already holds of what will be counted.
    """
    gpu = on_gpu(config)
    host = available_memory() // place.local_world_size + held
    memory = torch.cuda.mem_get_info(place.local_rank)[0] if gpu else host
    given = config["strategy"].get("memory_gib")
    return Machine(place.world_size, int(given * GIB) if given else memory, host if gpu else 0, gpu)


def describe(config: Mapping[str, Any], task: Task, training: bool) -> Workload:
    """Return a training's workload, its activations not counted yet."""
    from lab.strategies.sharding import parallel_module, units

    net, precision, optimizer = task.net, config["trainer"]["precision"], config["optimizer"]
    inner_last = list(enumerate(units(net)))[::-1]
    numbers = {id(p): number for number, unit in inner_last for p in unit.parameters()}
    plan = getattr(parallel_module(net), "tensor_plan", None)
    split = tuple(f"{name}." for name in plan(net)) if plan and config["strategy"]["name"] == "tensor_parallel" else ()
    element = BYTES.get(precision, 4)
    adam = optimizer["name"] in ("adam", "adamw")
    decays = optimizer["weight_decay"] > 0
    # Adam and Adagrad: the roots of squares. Decay that is added to the gradients makes a copy of them.
    scratch = int(optimizer["name"] != "sgd") + int(decays and optimizer["name"] != "adamw")
    return Workload(
        weights=tuple(
            Weight(tuple(p.shape), p.requires_grad, numbers.get(id(p)), bool(split) and name.startswith(split))
            for name, p in net.named_parameters()
        ),
        element=element,
        gathered=2 if precision in ("bf16-mixed", "bf16-true") else element,
        states=2 if adam else int(optimizer["momentum"] > 0) + int(optimizer["name"] == "adagrad"),
        averages=int(bool(config["callbacks"]["ema"])),
        scratch=scratch,
        buffers=sum(buffer.numel() * buffer.element_size() for buffer in net.buffers()),
        training=training,
    )


def with_activations(work: Workload, config: Mapping[str, Any], task: Task, data: DataModule) -> Workload:
    """Count what backward needs of one micro-batch of this rank, and the batch itself."""
    from lab.strategies.sharding import units

    batch = data.first_batch()
    if config["strategy"]["name"] == "dp":
        batch = batch.rows(slice(0, -(-batch.num_samples // config["trainer"]["devices"])))
    device = torch.device("cuda" if on_gpu(config) else "cpu")
    saved = count_saved(task, _step, batch, device, config["trainer"]["precision"], units(task.net))
    size = sum(tensor.nbytes for tensor in _tensors(batch))
    return replace(work, activations=saved.total + size, recomputed=saved.recomputed + size)


def parameter_bytes(net: nn.Module) -> int:
    """Return what a network's parameters take as they are."""
    return sum(parameter.nbytes for parameter in net.parameters())


def _step(task: nn.Module, batch: Any) -> None:
    assert isinstance(task, Task)
    outputs = task(batch)
    try:
        task.net.loss(outputs, batch.targets, batch.totals)
    except RuntimeError:  # it looks at values, as a matching does
        for tensor in _tensors(outputs):
            if tensor.requires_grad:
                tensor.float().exp()  # keeps its result: a loss keeps about as much as comes into it


def _tensors(found: Any) -> Iterator[Tensor]:
    """Yield the tensors of nested lists, dicts and dataclasses."""
    for leaf in tree_leaves(found):
        if isinstance(leaf, Tensor):
            yield leaf
        elif hasattr(leaf, "__dataclass_fields__"):
            yield from _tensors(list(vars(leaf).values()))
