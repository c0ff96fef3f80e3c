"""``strategy=auto`` in a run: measures what the planner needs to know, and puts its choice into the config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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
from lab.strategies.memory import Parameter, Workload, estimate
from lab.strategies.planner import GIB, HEADROOM, Choice, Machine, Row, candidates, pick, table
from lab.system.memory import available_memory
from lab.system.ranks import Place
from lab.training.outline import outline
from lab.training.task import Task

BYTES = {"64": 8, "bf16-true": 2}
"""Bytes of an element of a parameter, if not 4."""
AT_ONCE = 0.5
"""If everything but activations takes less than this share of a device, one device is enough; they are not counted."""


@dataclass(frozen=True)
class Subject:
    """A task with its config, data and rank: the input of the planner and of an evaluation.

    Attributes:
        config: the resolved config.
        task: on the CPU, or on the meta device if its values are not needed.
        data: with the plan of a rank of the job.
        place: the place of that rank.
        training: whether the task is trained.
    """

    config: dict[str, Any]
    task: Task
    data: DataModule
    place: Place
    training: bool = True


def settle_strategy(subject: Subject, before: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """Replace ``strategy=auto`` by the planner's choice; rank 0 decides for all.

    Args:
        subject: the task, config, data and rank.
        before: the choice that this function returned for an earlier part of the same training; it is kept if the
            number of devices is the same.

    Returns:
        The config with the chosen strategy, and the entry of ``run.json``: ``name`` and ``reason``.

    Raises:
        ConfigError: no strategy fits; raised on every rank.
    """
    config, place = subject.config, subject.place
    settings = config["strategy"]
    if settings["name"] != "auto":
        return config, {"name": settings["name"], "reason": "as configured"}
    word: tuple[str, Any] = ("", None)
    if place.rank == 0:
        try:
            word = ("chosen", _choose(subject, before))
        except ConfigError as error:
            word = ("refused", str(error))
    kind, found = collectives.from_rank_zero(word)
    if kind == "refused":
        raise ConfigError(found)
    if place.rank == 0:
        print(f"strategy  {found.name}: {found.reason}")
    if place.world_size == 1 and found.name not in IN_ONE_PROCESS:
        collectives.begin_alone(place, on_gpu(config))
    record = {"name": found.name, "reason": found.reason, "devices": place.world_size, "settings": found.settings}
    return {**config, "strategy": found.settings}, record


def _choose(subject: Subject, before: Mapping[str, Any] | None) -> Choice:
    config, place = subject.config, subject.place
    if before and before.get("devices") == place.world_size and "settings" in before:
        return Choice(dict(before["settings"]), before["reason"])
    machine = find_machine(config, place, parameter_bytes(subject.task.net))
    options = group_options("strategy")
    work = describe(config, subject.task, subject.training)
    if place.world_size == 1 and estimate(work, options["single"], 1).total < AT_ONCE * machine.memory:
        return Choice(options["single"], "one device")
    if subject.training:
        work = with_activations(work, config, subject.task, subject.data)
    return pick(rows_of(config, work, machine), machine)


def print_plan(subject: Subject) -> None:
    """Print the planner's table for a training of any strategy, with an arrow at the strategy that would run.

    Raises:
        ConfigError: the strategy is ``auto`` and nothing fits.
    """
    config = subject.config
    machine = find_machine(config, subject.place)
    work = with_activations(describe(config, subject.task, training=True), config, subject.task, subject.data)
    rows = rows_of(config, work, machine)
    auto = config["strategy"]["name"] == "auto"
    where = "one device" if machine.ranks == 1 else f"each of {machine.ranks} devices"
    print_sizes(
        f"GiB on {where}, by estimate; up to {HEADROOM:.0%} of {machine.memory / GIB:.3g} are used",
        "sum has the larger of activations (of a micro-batch) and step (temporary copies of the optimizer)",
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
    """Return the place of rank 0 among the ranks of a config, for a check in one process."""
    trainer = config["trainer"]
    here = 1 if config["strategy"]["name"] == "dp" else trainer["devices"]
    return Place(world_size=here * trainer["num_nodes"], local_world_size=here)


def rows_of(config: Mapping[str, Any], work: Workload, machine: Machine) -> list[Row]:
    """Return a row for each candidate of a config."""
    chosen = candidates(group_options("strategy"), config["strategy"], machine)
    return table(work, machine, chosen, config["trainer"])


def find_machine(config: Mapping[str, Any], place: Place, held: int = 0) -> Machine:
    """Describe the devices of a job, assuming that all are like that of rank 0.

    Args:
        config: the resolved config; ``strategy.memory_gib`` overrides the measured memory.
        place: the place of a rank of the job.
        held: bytes of the host's memory that this process already uses for objects that the planner will count.
    """
    gpu = on_gpu(config)
    host = available_memory() // place.local_world_size + held
    memory = torch.cuda.mem_get_info(place.local_rank)[0] if gpu else host
    given = config["strategy"].get("memory_gib")
    return Machine(place.world_size, int(given * GIB) if given else memory, host if gpu else 0, gpu)


def describe(config: Mapping[str, Any], task: Task, training: bool) -> Workload:
    """Return a training's workload without its activations."""
    from lab.layers.tensor_parallel.layers import TensorParallel
    from lab.registry.parallel import splitting_of, units
    from lab.structures.parallel import TensorSplitting

    net, precision, optimizer = task.net, config["trainer"]["precision"], config["optimizer"]
    inner_last = list(enumerate(units(net)))[::-1]
    numbers = {id(p): number for number, unit in inner_last for p in unit.parameters()}
    splitting = splitting_of(net) if config["strategy"]["name"] == "tensor_parallel" else None
    split: tuple[str, ...] = ()
    if isinstance(splitting, TensorSplitting):
        layers = {name: module for name, module in net.named_modules() if isinstance(module, TensorParallel)}
        own = (f"{name}.{part}" for name, module in layers.items() for part in module.parts())
        split = (*(f"{name}." for name in splitting.tensor_plan(net) if name not in layers), *own)
    element = BYTES.get(precision, 4)
    adam = optimizer["name"] in ("adam", "adamw", "bert", "lamb")
    decays = optimizer["weight_decay"] > 0
    # Adam and Adagrad hold the square roots. Weight decay that is added to the gradients makes a copy of them.
    scratch = int(optimizer["name"] != "sgd") + int(decays and optimizer["name"] != "adamw")
    return Workload(
        weights=tuple(
            Parameter(tuple(p.shape), p.requires_grad, numbers.get(id(p)), bool(split) and name.startswith(split))
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
    """Count the activations that backward needs for one micro-batch of this rank, and the batch itself."""
    from lab.registry.parallel import units

    batch = data.first_batch()
    if config["strategy"]["name"] == "dp":
        batch = batch.rows(slice(0, -(-batch.num_samples // config["trainer"]["devices"])))
    device = torch.device("cuda" if on_gpu(config) else "cpu")
    saved = count_saved(task, _step, batch, device, config["trainer"]["precision"], units(task.net))
    size = sum(tensor.nbytes for tensor in _tensors(batch))
    return replace(work, activations=saved.total + size, recomputed=saved.recomputed + size)


def parameter_bytes(net: nn.Module) -> int:
    """Return the bytes of a network's parameters in their present dtype."""
    return sum(parameter.nbytes for parameter in net.parameters())


def _step(task: nn.Module, batch: Any) -> None:
    assert isinstance(task, Task)
    outputs, terms = outline(task, batch)
    if terms is None:  # the loss reads values of tensors, for instance in a matching
        for tensor in _tensors(outputs):
            if tensor.requires_grad:
                tensor.float().exp()  # backward keeps its result, about as much memory as a loss keeps of its inputs


def _tensors(found: Any) -> Iterator[Tensor]:
    """Yield the tensors of nested lists, dicts and dataclasses."""
    for leaf in tree_leaves(found):
        if isinstance(leaf, Tensor):
            yield leaf
        elif hasattr(leaf, "__dataclass_fields__"):
            yield from _tensors(list(vars(leaf).values()))
