"""Darcy and Burgers in the layouts of neuralop (.pt) and PDEBench (.hdf5), and files that are none."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from lab.errors import ConfigError, DataError
from lab.tasks.operator_learning.data.burgers import BurgersDataModule
from lab.tasks.operator_learning.data.darcy import DarcyDataModule, moved, sine_coordinates

RANDOM = np.random.default_rng(0)
COEFFICIENTS = RANDOM.random((10, 8, 8)) > 0.5
SOLUTIONS = RANDOM.normal(size=(10, 8, 8)).astype(np.float32)
SERIES = RANDOM.normal(size=(10, 5, 8))


def write_pt(path: Path, **arrays: Any) -> Path:
    torch.save({key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()}, path)
    return path


def write_hdf5(path: Path, arrays: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pt(tmp_path / "darcy.pt", x=COEFFICIENTS, y=SOLUTIONS)
    write_pt(tmp_path / "burgers.pt", x=SERIES[:, 0], y=SERIES, visc=np.full((1, 1), 0.01))
    nu, tensor = COEFFICIENTS.astype(np.float32), SOLUTIONS[:, None]
    write_hdf5(tmp_path / "darcy.hdf5", {"nu": nu, "tensor": tensor, "x-coordinate": np.arange(8.0)})
    times, values = np.arange(6) * 0.01, SERIES.astype(np.float32)
    coordinates = {"x-coordinate": np.arange(8.0), "t-coordinate": times}
    write_hdf5(tmp_path / "burgers.hdf5", {"tensor": values, **coordinates})
    return tmp_path


def darcy(root: Path, name: str = "darcy.pt", **options: Any) -> DarcyDataModule:
    return DarcyDataModule(str(root), name, **options)


def burgers(root: Path, name: str = "burgers.pt", **options: Any) -> BurgersDataModule:
    return BurgersDataModule(str(root), name, **{"eval_steps": 4, **options})


@pytest.mark.parametrize("name", ["darcy.pt", "darcy.hdf5"])
def test_darcy(root: Path, name: str) -> None:
    data = darcy(root, name, symmetries=False)
    sizes = [len(data.dataset(split)) for split in ("train", "val", "test")]
    assert sizes == [8, 1, 1]
    datasets = [data.dataset(split) for split in ("train", "val", "test")]
    rows = [dataset[0, index] for dataset in datasets for index in range(len(dataset))]
    numbers = {stored.tobytes(): number for number, stored in enumerate(COEFFICIENTS)}
    order = [numbers[row.fields[0].bool().numpy().tobytes()] for row in rows]
    assert sorted(order) == list(range(10))
    assert all(np.array_equal(SOLUTIONS[n], row.targets[0, 0].numpy()) for n, row in zip(order, rows, strict=True))
    spec = data.spec
    assert spec.net_arguments() == {"image_size": (8, 8), "in_channels": 3, "out_channels": 1}
    assert spec.means[0] == pytest.approx(float(SOLUTIONS[order[:8]].astype(np.float64).mean()), abs=1e-9)
    batch = data.collate(rows[:2])
    assert batch.forcings is not None
    assert batch.forcings.shape == (2, 1, 2, 8, 8)


def test_darcy_on_another_grid(root: Path) -> None:
    """Every second point of the file is the coarse field; the test may have all of them."""
    data = darcy(root, resolution=4, test_resolution=8, symmetries=False)
    assert data.spec.grid == (4, 4)
    assert data.dataset("test")[0, 0].fields.shape == (1, 8, 8)
    coarse = darcy(root, resolution=4, symmetries=False).dataset("test")[0, 0]
    assert torch.equal(data.dataset("test")[0, 0].targets[..., ::2, ::2], coarse.targets)
    named = darcy(root, test="darcy.hdf5", test_resolution=4)
    assert named.dataset("test")[0, 0].fields.shape == (1, 4, 4)
    assert len(named.dataset("train")) == 9
    with pytest.raises(DataError, match=r"an axis has 8 points, and data\.resolution=5 is not among .*: 8, 4"):
        _ = darcy(root, resolution=5).spec


def poisson(points: int) -> torch.Tensor:
    """Return a function of no symmetry that is zero on the boundary of a square, at the points i / n."""
    axis = torch.arange(points, dtype=torch.float64) / points
    return (axis * (1 - axis) * axis)[:, None] * (axis * (1 - axis)) + 0.0


def test_symmetries_keep_the_boundary() -> None:
    """i / n has the first boundary alone: mirrored about the middle, point i comes from n - i, and 0 stays."""
    field = poisson(8)
    mirrored = moved(field, 1, "first")
    axis = torch.arange(8, dtype=torch.float64) / 8
    exact = ((1 - axis) * axis * (1 - axis))[:, None] * (axis * (1 - axis))
    assert torch.allclose(mirrored, exact, atol=1e-15)
    assert torch.equal(moved(field, 4, "first"), field.T)
    assert torch.equal(moved(field, 2, "none"), field.flip(1))
    sines = sine_coordinates((8, 8), "first")
    assert all(torch.allclose(moved(sines, number, "first"), sines, atol=1e-6) for number in range(4))
    seen = {tuple(moved(torch.arange(16).view(4, 4), number, "none").flatten().tolist()) for number in range(8)}
    assert len(seen) == 8


def test_symmetries_are_drawn_by_epoch_and_index(root: Path) -> None:
    data, again = darcy(root), darcy(root)
    drawn = [data.dataset("train")[epoch, 0].fields for epoch in range(12)]
    assert torch.equal(
        torch.stack(drawn), torch.stack([again.dataset("train")[epoch, 0].fields for epoch in range(12)])
    )
    assert len({tuple(one.flatten().tolist()) for one in drawn}) > 3
    assert torch.equal(data.dataset("val")[0, 0].fields, data.dataset("val")[5, 0].fields)
    assert data.fingerprint() == again.fingerprint() != darcy(root, seed=1).fingerprint()


@pytest.mark.parametrize(("name", "step"), [("burgers.pt", 0.25), ("burgers.hdf5", 0.01)])
def test_burgers_as_a_series(root: Path, name: str, step: float) -> None:
    data = burgers(root, name, train_steps=2)
    assert data.spec.step == pytest.approx(step)
    assert data.spec.net_arguments() == {"image_size": (8,), "in_channels": 1, "out_channels": 1}
    train, test = data.dataset("train"), data.dataset("test")
    assert (len(train), len(test)) == (8 * 3, 1)
    start = train[0, 1]
    stored = [row for row in SERIES.astype(np.float32) if np.array_equal(row[1], start.fields[0].numpy())]
    assert np.array_equal(stored[0][2:4], start.targets[:, 0].numpy())
    assert test[0, 0].targets.shape == (4, 1, 8)
    assert burgers(root, name, every_step=2, resolution=4, eval_steps=2).dataset("test")[0, 0].targets.shape == (
        2,
        1,
        4,
    )
    with pytest.raises(ConfigError, match=r"data\.eval_steps=5: a solution of .* has 4 steps"):
        burgers(root, name, eval_steps=5).dataset("test")


def test_burgers_as_a_map(root: Path) -> None:
    data = burgers(root, dims=2)
    spec = data.spec
    assert (spec.grid, spec.given, spec.evolves) == ((4, 8), ("initial u",), False)
    sample = data.dataset("train")[0, 0]
    assert sample.fields.shape == (1, 4, 8)
    assert sample.targets.shape == (1, 1, 4, 8)
    assert torch.equal(sample.fields[0, 0], sample.fields[0, 3])


class Evil:
    """Runs a command where a pickle is trusted."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this code must not run",))


HOLE = SOLUTIONS.copy()
HOLE[3, 1, 2] = np.nan
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a hole": ({"x": COEFFICIENTS, "y": HOLE}, r"y: 1 of 640 values are not finite .* the first at \(3, 1, 2\)"),
    "other names": ({"a": COEFFICIENTS, "y": SOLUTIONS}, "there is no array 'x' in it; it has a, y"),
    "other grids": ({"x": COEFFICIENTS, "y": SOLUTIONS[:, :4, :4]}, r"of the shape \(10, 8, 8\) and .*\(10, 4, 4\)"),
    "no square": ({"x": COEFFICIENTS[:, :6], "y": SOLUTIONS[:, :6]}, r"both should be \(N, n, n\)"),
    "other numbers": ({"x": COEFFICIENTS, "y": SOLUTIONS[:9]}, "of equal N and n"),
    "constant": ({"x": np.ones((10, 8, 8)), "y": SOLUTIONS}, "the coefficient is the same number everywhere"),
    "few": ({"x": COEFFICIENTS[:2], "y": SOLUTIONS[:2]}, "2 samples are too few"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays(tmp_path: Path, case: str) -> None:
    arrays, says = BAD[case]
    write_pt(tmp_path / "darcy.pt", **arrays)
    with pytest.raises(DataError, match=says) as caught:
        _ = darcy(tmp_path).spec
    assert "darcy.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_run_code_or_are_damaged(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"x": Evil(), "y": torch.zeros(3)}, root / "evil.pt")
    (root / "raw.pt").write_bytes(pickle.dumps(Evil()))
    torch.save(torch.zeros(3), root / "tensor.pt")
    for name in ("darcy.pt", "darcy.hdf5"):
        content = (root / name).read_bytes()
        (root / f"cut-{name}").write_bytes(content[: len(content) // 2])
    (root / "empty.pt").write_bytes(b"")
    write_hdf5(root / "names.hdf5", {"nu": COEFFICIENTS, "tensors": SOLUTIONS})
    write_hdf5(root / "one.hdf5", {"nu": 1.0, "tensor": SOLUTIONS})
    torch.save({"x": torch.zeros(1).expand(10**6, 1000, 1000), "y": torch.zeros(2, 4, 4)}, root / "claims.pt")
    torch.save({"x": torch.zeros(2, 4, 4).bfloat16(), "y": torch.zeros(2, 4, 4)}, root / "short.pt")
    says = {
        "evil.pt": r"it names .*print, and only plain data is read",
        "raw.pt": "cannot be read as a file of PyTorch",
        "tensor.pt": "there is no array 'x', 'y' in it; it has nothing by name",
        "cut-darcy.pt": "cannot be read as a file of PyTorch",
        "cut-darcy.hdf5": "cannot be read as HDF5",
        "empty.pt": "is empty",
        "missing.pt": "no such file",
        "one.hdf5": r"nu: its shape is \(\): it holds no fields",
        "claims.pt": r"x: it is a tensor of the shape \(1000000, 1000, 1000\), and the file holds fewer",
        "short.pt": "x: it is a tensor of torch.bfloat16",
        "names.hdf5": "there is no array 'tensor' in it; it has nu, tensors; did you mean",
    }
    for name, expected in says.items():
        with pytest.raises(DataError, match=expected) as caught:
            _ = darcy(root, name).spec
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
    assert "must not run" not in capsys.readouterr().out


def test_bad_series(root: Path) -> None:
    good = {"tensor": SERIES, "x-coordinate": np.arange(8.0), "t-coordinate": np.arange(6.0)}
    for name, value, says in (
        ("x-coordinate", np.arange(7.0), r"\(6,\) times and \(7,\) places, and its tensor is \(10, 5, 8\)"),
        ("t-coordinate", np.arange(9.0), r"\(9,\) times"),
        ("t-coordinate", np.arange(6.0) ** 2, "its times do not rise in equal steps"),
        ("tensor", SERIES[0, 0], r"tensor: its shape is \(8,\): it holds no fields"),
        ("tensor", SERIES[0], r"should be \(N, T, points\)"),
    ):
        write_hdf5(root / "bad.hdf5", {**good, name: value})
        with pytest.raises(DataError, match=says):
            _ = burgers(root, "bad.hdf5").spec
    write_pt(root / "bad.pt", y=SERIES[0])
    with pytest.raises(DataError, match=r"solutions of the shape \(5, 8\): should be"):
        _ = burgers(root, "bad.pt").spec


def test_real_files() -> None:
    """neuralop's: the test on 16 x 16 points is that on 32 x 32 at every second one; the boundary is where it is said.

    On average over the samples a solution is symmetric: the mirrored mean differs by 2 % (measured 0.6 %) of the mean,
    and by 28 % where the grid is taken for one with both boundaries.
    """
    folder = Path(os.environ.get("LAB_DATA_DIR", "data")) / "pde_neuralop"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    names = {"train": "darcy_train_16.pt", "test": "darcy_test_16.pt"}
    data = DarcyDataModule(str(folder), **names, symmetries=False)
    finer = DarcyDataModule(str(folder), **names | {"test": "darcy_test_32.pt"}, test_resolution=16)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [900, 100, 50]
    assert torch.equal(data.dataset("test").pairs.solved, finer.dataset("test").pairs.solved)
    mean = data.dataset("train").pairs.solved.mean(0)
    away = {name: float((moved(mean, 1, name) - mean).norm() / mean.norm()) for name in ("first", "both")}
    assert away["first"] < 0.02 < 0.2 < away["both"]
    series = BurgersDataModule(str(folder), "burgers_train_16.pt", test="burgers_test_16.pt", eval_steps=16)
    assert (len(series.dataset("train")), len(series.dataset("test"))) == (720 * 16, 400)
    assert series.spec.step == pytest.approx(1 / 16)
