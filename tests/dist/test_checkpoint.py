"""Checkpoints of sharded modules: what two ranks write one process reads and the other way round, to the last bit.

The values compared with are torch's own: of a single process, or gathered by ``DTensor.full_tensor``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.distributed.tensor._utils as tensor_utils
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from lab.checkpoint import access as access_module
from lab.checkpoint.access import StateAccess, tensors_of
from lab.checkpoint.format import CheckpointReader, Piece
from lab.checkpoint.writer import write_checkpoint
from lab.errors import CheckpointError
from lab.registry.pretrained import load_pretrained
from scripts.consolidate_checkpoint import consolidate
from tests.distributed import run_distributed

STATE = {"task": "Task", "weights_kind": "raw", "hyper_parameters": {"spec": {"class_names": ["a", "b"]}, "lr": 0.1}}


class Net(nn.Module):
    """Odd sizes, a parameter that only rank 0 has a row of, tied weights, buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 7)
        self.block = nn.Sequential(nn.Linear(7, 12), nn.GELU(), nn.Linear(12, 7))
        self.norm = nn.LayerNorm(7)
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(7, 5, bias=False)
        self.tied = nn.Linear(7, 5, bias=False)
        self.tied.weight = self.head.weight
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))


def build() -> tuple[Net, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            values = torch.arange(parameter.numel(), dtype=torch.float32)
            parameter.copy_(torch.sin(values * 0.37 + number).view_as(parameter) * 0.5)
    return net, optimizer_of(net)


def optimizer_of(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)


def step(net: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    """Make a step with gradients that are computed element by element, so that no split changes a bit of them."""
    for buffer in net.buffers():
        buffer += 1
    for parameter in net.parameters():
        parameter.grad = parameter.detach() * 0.5 + 0.01 * number
    optimizer.step()
    optimizer.zero_grad()


def split_fsdp(net: Net, mesh: DeviceMesh | None = None) -> None:
    fully_shard(net.block, mesh=mesh)
    fully_shard(net, mesh=mesh)


def split_tensor(net: Net, mesh: DeviceMesh, rest: bool = True) -> None:
    parallelize_module(net.block, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    made: dict[nn.Parameter, nn.Parameter] = {}
    for module in net.modules() if rest else ():
        for name, parameter in module._parameters.items():
            if parameter is not None and not isinstance(parameter, DTensor):
                if parameter not in made:
                    made[parameter] = nn.Parameter(distribute_tensor(parameter.detach(), mesh, [Replicate()]))
                module._parameters[name] = made[parameter]


def split(net: Net, kind: str) -> None:
    if kind == "fsdp":
        split_fsdp(net, init_device_mesh("cpu", (dist.get_world_size(),)))
    elif kind == "tensor":
        split_tensor(net, init_device_mesh("cpu", (2,)))
    elif kind == "tensor, the rest plain":
        split_tensor(net, init_device_mesh("cpu", (2,)), rest=False)
    else:
        data, tensor = (int(size) for size in kind.split("x"))
        mesh = init_device_mesh("cpu", (data, tensor), mesh_dim_names=("data", "tensor"))
        split_tensor(net, mesh["tensor"])
        if data > 1 and tensor > 1:
            split_fsdp(net, mesh["data"])


KINDS = ("fsdp", "tensor", "tensor, the rest plain", "2x1", "1x2")
"""2x1 leaves the second rank with DTensors of a mesh of its own: copies of the first one's."""


def gathered(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    """Return every tensor whole, as torch itself gathers it."""

    def full(tensor: Tensor) -> np.ndarray:
        return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone().numpy()

    found = {f"model/{name}": full(tensor) for name, tensor in net.state_dict().items()}
    for name, parameter in net.named_parameters():
        for key, value in optimizer.state[parameter].items():
            found[f"optimizer/{name}/{key}"] = full(value)
    return found


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert np.array_equal(found[name], value), name


def content(path: Path) -> dict[str, np.ndarray]:
    reader = CheckpointReader(path)
    reader.verify()
    return {name: reader.read(name).numpy() for name in reader.names()}


def save(path: Path, pieces: dict[str, Piece]) -> str:
    """Write with all ranks; return what rank 0 refused."""
    problem = ""
    try:
        write_checkpoint(path, pieces, STATE, 3, rank=dist.get_rank(), barrier=dist.barrier)
    except CheckpointError as error:
        problem = str(error)
        dist.barrier()  # the one that the others wait at
    return problem


@contextmanager
def mutated(kind: str) -> Iterator[None]:
    """Break what gives this rank its place."""
    offset, held = tensor_utils.compute_local_shape_and_global_offset, access_module._held
    if kind == "offset":

        def no_offset(*arguments: Any) -> Any:
            shape, corner = offset(*arguments)
            return shape, (0,) * len(corner)

        tensor_utils.compute_local_shape_and_global_offset = no_offset
    else:  # every copy is written
        access_module._held = lambda tensor: (*held(tensor)[:2], True)
    try:
        yield
    finally:
        tensor_utils.compute_local_shape_and_global_offset, access_module._held = offset, held


def on_ranks(rank: int, folder: Path, kinds: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    access, results = StateAccess(), {}
    for kind in kinds:
        net, _ = build()
        split(net, kind)
        optimizer = optimizer_of(net)
        reader = CheckpointReader(folder / "one.ckpt")
        with torch.no_grad():
            for parameter in net.parameters():  # what is not restored would be seen
                parameter.fill_(-1.0)
        access.restore(reader, net, optimizer)
        result: dict[str, Any] = {"restored": gathered(net, optimizer)}
        result["kinds"] = {
            type(value).__name__
            for parameter in net.parameters()
            for key, value in optimizer.state[parameter].items()
            if key != "step" and type(value) is not type(parameter.data)
        }
        result["saved"] = save(folder / f"{kind}.ckpt", access.pieces(net, optimizer))
        step(net, optimizer, 3)
        result["stepped"] = gathered(net, optimizer)
        of_task = {name.replace("model/", "model/net."): piece for name, piece in access.pieces(net, None).items()}
        result["saved as a task"] = save(folder / f"{kind}-task.ckpt", of_task)
        result["saved after"] = save(folder / f"{kind}-after.ckpt", access.pieces(net, optimizer))
        pieces = access.pieces(net, optimizer)
        result["left out"] = save(folder / f"{kind}-bad.ckpt", pieces if rank == 0 else {})
        for mutant in ("offset", "copies"):
            with mutated(mutant):
                result[mutant] = save(folder / f"{kind}-bad.ckpt", access.pieces(net, optimizer))
                access.restore(reader, net, optimizer)
            result[f"{mutant} restored"] = gathered(net, optimizer)
        results[kind] = result
    return results


def wrapped() -> dict[str, Any]:
    """Return the names of a network in and out of wrappers, and how much this rank writes of plain tensors."""
    net, _ = build()
    outer = nn.ModuleDict({"module": nn.parallel.DistributedDataParallel(net)})
    plain = nn.ModuleDict({"module": build()[0]})
    compiled = nn.ModuleDict({"module": torch.compile(build()[0])})
    both = nn.parallel.DistributedDataParallel(torch.compile(plain))
    pieces = StateAccess().pieces(outer, optimizer_of(outer))
    return {
        "names": [sorted(tensors_of(module)) for module in (plain, outer, compiled, both)],
        "writes": sum(piece.data.numel() for piece in pieces.values()),
    }


def two_ranks(rank: int, folder: Path) -> dict[str, dict[str, Any]]:
    return {**on_ranks(rank, folder, KINDS), "wrapped": wrapped()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``one.ckpt``, of one process after three steps."""
    folder = tmp_path_factory.mktemp("checkpoints")
    net, optimizer = build()
    for number in range(3):
        step(net, optimizer, number)
    write_checkpoint(folder / "one.ckpt", StateAccess().pieces(net, optimizer), STATE, 3)
    assert_same(content(folder / "one.ckpt"), gathered(net, optimizer))
    return folder


@pytest.fixture(scope="module")
def single() -> list[dict[str, np.ndarray]]:
    """Return everything after three and after four steps of one process."""
    net, optimizer = build()
    found = []
    for number in range(4):
        step(net, optimizer, number)
        found.append(gathered(net, optimizer))
    return found[2:]


@pytest.fixture(scope="module")
def of_two(folder: Path) -> list[dict[str, dict[str, Any]]]:
    return run_distributed(two_ranks, 2, (folder,))


@pytest.mark.parametrize("kind", KINDS)
def test_one_to_two_to_one(
    folder: Path, single: list[dict[str, np.ndarray]], of_two: list[dict[str, dict[str, Any]]], kind: str
) -> None:
    for rank in range(2):
        result = of_two[rank][kind]
        assert_same(result["restored"], single[0])
        assert result["kinds"] == set()  # state that was made is placed like its parameter
        assert (result["saved"], result["saved after"], result["saved as a task"]) == ("", "", "")
    assert_same(content(folder / f"{kind}.ckpt"), single[0])
    # A step later: what torch gathers, and what one process reads into a fresh module and optimizer.
    assert_same(content(folder / f"{kind}-after.ckpt"), of_two[0][kind]["stepped"])
    net, optimizer = build()
    StateAccess().restore(CheckpointReader(folder / f"{kind}-after.ckpt"), net, optimizer)
    assert_same(gathered(net, optimizer), of_two[0][kind]["stepped"])
    assert_same(of_two[0][kind]["stepped"], single[1])


@pytest.mark.parametrize("kind", KINDS)
def test_consolidated_weights_are_the_gathered_ones(
    folder: Path, of_two: list[dict[str, dict[str, Any]]], kind: str
) -> None:
    target = folder / f"{kind}.safetensors"
    count, _ = consolidate(folder / f"{kind}-task.ckpt", target)
    expected = {
        name.removeprefix("model/"): value
        for name, value in of_two[0][kind]["stepped"].items()
        if name.startswith("model/")
    }
    assert count == len(expected)
    net, _ = build()
    load_pretrained(net, target)  # knows nothing of shards
    assert_same({name: tensor.numpy() for name, tensor in net.state_dict().items()}, expected)


def test_both_ranks_write_about_half_under_fsdp(folder: Path, of_two: list[dict[str, dict[str, Any]]]) -> None:
    sizes = [(folder / "fsdp.ckpt" / f"rank-0000{rank}.safetensors").stat().st_size for rank in range(2)]
    assert 0.3 < sizes[1] / sizes[0] < 1
    assert {path.name for path in (folder / "2x1.ckpt").iterdir()} == {
        "rank-00000.safetensors",
        "state.pt",
        "index.json",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_are_seen(
    folder: Path, single: list[dict[str, np.ndarray]], of_two: list[dict[str, dict[str, Any]]], kind: str
) -> None:
    result = of_two[0][kind]
    is_split = kind != "2x1"
    assert ("hold" in result["left out"]) is is_split
    assert ("overlap" in result["offset"]) is is_split
    assert "hold" in result["copies"]
    names = [n for n, v in single[0].items() if not np.array_equal(of_two[1][kind]["offset restored"][n], v)]
    assert bool(names) is is_split
    assert_same(result["copies restored"], single[0])  # it breaks writing alone
    assert not is_split or not (folder / f"{kind}-bad.ckpt").exists()


@pytest.mark.slow
def test_four_ranks_in_a_grid(folder: Path, single: list[dict[str, np.ndarray]]) -> None:
    # FSDP over what tensor parallelism has split: rows of a part of the rows, not equally divided.
    results = run_distributed(on_ranks, 4, (folder, ("2x2", "fsdp")))
    for kind in ("2x2", "fsdp"):
        assert_same(results[3][kind]["restored"], single[0])
        assert_same(content(folder / f"{kind}.ckpt"), single[0])
        assert_same(content(folder / f"{kind}-after.ckpt"), results[0][kind]["stepped"])
        assert "overlap" in results[0][kind]["offset"]


def test_wrappers_leave_no_trace_and_only_the_first_rank_writes_copies(of_two: list[dict[str, dict[str, Any]]]) -> None:
    first, second = (results["wrapped"] for results in of_two)
    plain, *others = first["names"]
    assert "module.block.0.weight" in plain  # a network's own `module` stays
    assert others == [plain] * 3
    assert first["writes"] > 0
    assert second["writes"] == 0
