"""What is written is read, however it was split; of the files only what is wanted; a gap or an overlap is named."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lab.checkpoint.format import CheckpointReader, Piece
from lab.checkpoint.index import boxes_of_run
from lab.checkpoint.writer import write_checkpoint
from lab.errors import CheckpointError

STATE = {"step": 3, "lr": 0.1, "names": ["a", "b"], "nested": {"rng": torch.arange(5), "none": None}}


def whole(tensor: Tensor) -> Piece:
    return Piece(tensor, tuple(tensor.shape), (0,) * tensor.ndim)


def write_on_ranks(path: Path, parts: list[dict[str, Piece]], **keywords: Any) -> None:
    """Write as many ranks at once, each in a thread."""
    barrier = threading.Barrier(len(parts), timeout=30)
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            write_checkpoint(path, parts[rank], STATE, 3, rank=rank, barrier=barrier.wait, **keywords)
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_round_trip_of_every_dtype_and_shape(tmp_path: Path) -> None:
    tensors = {
        "matrix": torch.randn(5, 7),
        "scalar": torch.tensor(3.5),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 4),
        "transposed": torch.randn(5, 7).t(),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "view": torch.arange(20.0)[3:9],
        "long/name.with/parts": torch.randn(2),
    }
    for dtype in (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int8,
        torch.uint8,
        torch.bool,
        torch.float8_e4m3fn,
    ):
        tensors[str(dtype)] = torch.randn(9).to(dtype)
    tensors["tied"] = tensors["matrix"]
    write_checkpoint(tmp_path / "a.ckpt", {name: whole(tensor) for name, tensor in tensors.items()}, STATE, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    assert {path.name for path in (tmp_path / "a.ckpt").iterdir()} == {
        "rank-00000.safetensors",
        "state.pt",
        "index.json",
    }
    reader = CheckpointReader(tmp_path / "a.ckpt")
    reader.verify()
    assert reader.step == 3
    assert set(reader.names()) == set(tensors)
    assert reader.names("torch.float") == [name for name in reader.names() if name.startswith("torch.float")]
    for name, tensor in tensors.items():
        found = reader.read(name)
        assert (reader.shape(name), reader.dtype(name)) == (tuple(tensor.shape), tensor.dtype)
        assert found.dtype == tensor.dtype
        assert torch.equal(
            found.view(torch.uint8) if found.ndim else found,
            tensor.contiguous().view(torch.uint8) if tensor.ndim else tensor,
        ), name
    assert reader.state["nested"].pop("rng").tolist() == list(range(5))
    assert reader.state == {**STATE, "nested": {"none": None}}
    size = (tmp_path / "a.ckpt" / "rank-00000.safetensors").stat().st_size
    assert (
        size < sum(tensor.nbytes for name, tensor in tensors.items() if name != "tied") + 3000
    )  # tied ones stand once


def cuts(generator: random.Random, size: int, parts: int) -> list[tuple[int, int]]:
    """Cut ``range(size)`` at random places into so many parts, some of them empty."""
    places = [0, *sorted(generator.randint(0, size) for _ in range(parts - 1)), size]
    return list(itertools.pairwise(places))


def split(generator: random.Random, tensor: Tensor, ranks: int) -> list[Piece]:
    """Split a tensor over ranks: by one dimension, by two, or by runs of the flattened tensor."""
    kind = generator.choice(["run", "block", "grid"])
    shape = tuple(tensor.shape)
    if kind == "run" or tensor.ndim < 2:
        return [Piece(tensor.flatten()[a:b], shape, a) for a, b in cuts(generator, tensor.numel(), ranks)]
    if kind == "block":
        dim = generator.randrange(tensor.ndim)
        corner = [0] * tensor.ndim
        pieces = []
        for a, b in cuts(generator, shape[dim], ranks):
            corner[dim] = a
            pieces.append(Piece(tensor.narrow(dim, a, b - a), shape, tuple(corner)))
        return pieces
    one, other = generator.sample(range(tensor.ndim), 2)
    pieces = []
    for (a, b), (c, d) in itertools.product(cuts(generator, shape[one], 2), cuts(generator, shape[other], ranks // 2)):
        corner = [0] * tensor.ndim
        corner[one], corner[other] = a, c
        pieces.append(Piece(tensor.narrow(one, a, b - a).narrow(other, c, d - c), shape, tuple(corner)))
    return pieces


@pytest.mark.parametrize("seed", range(6))
def test_blocks_and_runs_of_any_split(tmp_path: Path, seed: int) -> None:
    generator, ranks = random.Random(seed), 4
    shapes = [[generator.randint(1, 6) for _ in range(generator.randint(1, 4))] for _ in range(12)]
    tensors = {str(number): torch.randn(shape) for number, shape in enumerate(shapes)}
    pieces = {name: split(generator, tensor, ranks) for name, tensor in tensors.items()}
    write_on_ranks(tmp_path / "a.ckpt", [{name: pieces[name][rank] for name in tensors} for rank in range(ranks)])
    reader = CheckpointReader(tmp_path / "a.ckpt")
    reader.verify()
    for name, tensor in tensors.items():
        assert torch.equal(reader.read(name), tensor)
        for _ in range(20):
            start, stop = sorted(generator.randint(0, tensor.numel()) for _ in range(2))
            assert torch.equal(reader.read_flat(name, start, stop), tensor.flatten()[start:stop])
            pairs = [sorted(generator.randint(0, size) for _ in range(2)) for size in tensor.shape]
            corner, extent = tuple(a for a, _ in pairs), tuple(b - a for a, b in pairs)
            assert torch.equal(reader.read_block(name, corner, extent), tensor[tuple(slice(a, b) for a, b in pairs)])
        for bad in ((-1, 1), (0, tensor.numel() + 1), (2, 1)):
            with pytest.raises(ValueError, match="does not reach"):
                reader.read_flat(name, *bad)
        with pytest.raises(ValueError, match="does not reach"):
            reader.read_block(name, tuple(tensor.shape), tuple(tensor.shape))


def test_a_run_is_cut_into_few_blocks_in_order() -> None:
    numbers = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    for start, stop in itertools.combinations(range(121), 2):
        boxes = list(boxes_of_run((2, 3, 4, 5), start, stop))
        parts = [numbers[tuple(slice(a, a + n) for a, n in zip(*box, strict=True))].flatten() for box in boxes]
        assert torch.cat(parts).tolist() == list(range(start, stop))
        assert len(boxes) <= 7  # twice the dimensions, less one


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    rows, columns = 4000, 4000  # 61 MiB
    write_checkpoint(tmp_path / "a.ckpt", {"big": whole(torch.zeros(rows, columns))}, {}, 0)
    reader = CheckpointReader(tmp_path / "a.ckpt")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    before = resident()
    reader.read_block("big", (2000, 10), (8, 100))
    reader.read_flat("big", 9_000_000, 9_001_000)
    assert resident() - before < 8  # MiB; the whole tensor is 61
    reader.read("big")
    assert resident() - before > 40


def rows(data: Tensor, start: int, stop: int, at: int | None = None) -> Piece:
    return Piece(data[start:stop], tuple(data.shape), (start if at is None else at, *(0,) * (data.ndim - 1)))


def flat(data: Tensor, start: int, stop: int) -> Piece:
    return Piece(data.flatten()[start:stop], tuple(data.shape), start)


DATA = torch.randn(6, 4)
COLUMNS = Piece(DATA[:, 2:], (6, 4), (0, 2))
WRONG: dict[str, tuple[list[dict[str, Piece]], str]] = {
    "a rank left out": ([{"w": rows(DATA, 0, 3)}, {}], r"w \[6, 4\] hold 12 elements of 24"),
    "a rank left out that another only knows of": (
        [{"w": Piece(torch.empty(0), (6, 4), (0, 0))}, {}],
        "hold 0 elements of 24",
    ),
    "a wrong offset": ([{"w": rows(DATA, 0, 3)}, {"w": rows(DATA, 3, 6, at=2)}], "overlap"),
    "an offset beyond": ([{"w": rows(DATA, 0, 3)}, {"w": rows(DATA, 3, 6, at=4)}], "reach beyond"),
    "both write all": ([{"w": whole(DATA)}, {"w": whole(DATA)}], "hold 48 elements of 24"),
    "overlapping runs": ([{"w": flat(DATA, 0, 12)}, {"w": Piece(DATA[3:], (6, 4), 11)}], "overlap"),
    "a run beyond": ([{"w": flat(DATA, 0, 12)}, {"w": Piece(DATA[3:], (6, 4), 13)}], "reach beyond"),
    "overlapping columns": ([{"w": COLUMNS}, {"w": Piece(DATA[:, :2], (6, 4), (0, 1))}], "overlap"),
    "a run over columns": ([{"w": COLUMNS}, {"w": flat(DATA, 0, 12)}], "overlap"),
    "another shape": ([{"w": rows(DATA, 0, 3)}, {"w": Piece(DATA[3:], (7, 4), (3, 0))}], "the ranks differ about w"),
    "another dtype": ([{"w": rows(DATA, 0, 3)}, {"w": rows(DATA.double(), 3, 6)}], "the ranks differ about w"),
    "fewer dimensions": ([{"w": Piece(DATA.flatten(), (6, 4), (0,))}], "reach beyond"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_cover_a_tensor_once_is_refused_and_the_old_one_kept(tmp_path: Path, case: str) -> None:
    write_checkpoint(tmp_path / "a.ckpt", {"w": whole(DATA)}, {"old": 1}, 1)
    parts, problem = WRONG[case]
    with pytest.raises(CheckpointError, match=problem) as error:
        write_on_ranks(tmp_path / "a.ckpt", parts)
    assert str(tmp_path / "a.ckpt") in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    assert CheckpointReader(tmp_path / "a.ckpt").state == {"old": 1}


@pytest.mark.parametrize("bad", [lambda: None, Path("x"), threading.Lock()], ids=["function", "object", "lock"])
def test_state_that_would_not_load_is_refused_and_the_old_one_kept(tmp_path: Path, bad: Any) -> None:
    write_checkpoint(tmp_path / "a.ckpt", {"w": whole(DATA)}, {"old": 1}, 1)
    with pytest.raises(CheckpointError, match="its state is more than plain data"):
        write_checkpoint(tmp_path / "a.ckpt", {"w": whole(DATA)}, {"bad": bad}, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    assert CheckpointReader(tmp_path / "a.ckpt").state == {"old": 1}


def test_ranks_that_hold_nothing_write_nothing(tmp_path: Path) -> None:
    write_on_ranks(tmp_path / "a.ckpt", [{"w": whole(DATA)}, {"w": Piece(torch.empty(0), (6, 4), (0, 0))}, {}])
    assert {path.name for path in (tmp_path / "a.ckpt").iterdir()} == {
        "rank-00000.safetensors",
        "state.pt",
        "index.json",
    }
    assert torch.equal(CheckpointReader(tmp_path / "a.ckpt").read("w"), DATA)


def test_the_one_before_is_kept(tmp_path: Path) -> None:
    for step in range(4):
        tensors = {"w": whole(torch.full((3,), float(step)))}
        write_checkpoint(tmp_path / "last.ckpt", tensors, {}, step, keep=tmp_path / "previous.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert CheckpointReader(tmp_path / "last.ckpt").step == 3
    assert CheckpointReader(tmp_path / "previous.ckpt").read("w").tolist() == [2, 2, 2]


def test_a_file_in_its_place_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"of an earlier version")
    write_checkpoint(tmp_path / "last.ckpt", {"w": whole(DATA)}, {}, 1, keep=tmp_path / "previous.ckpt")
    assert CheckpointReader(tmp_path / "last.ckpt").step == 1
    assert (tmp_path / "previous.ckpt").is_file()


@pytest.mark.parametrize("read", [lambda r: r.read("x"), lambda r: r.shape("x"), lambda r: r.read_flat("x", 0, 1)])
def test_unknown_names_are_named(tmp_path: Path, read: Callable[[CheckpointReader], Any]) -> None:
    write_checkpoint(tmp_path / "a.ckpt", {"w": whole(DATA)}, {}, 1)
    with pytest.raises(CheckpointError, match=r"a\.ckpt has no tensor x"):
        read(CheckpointReader(tmp_path / "a.ckpt"))
