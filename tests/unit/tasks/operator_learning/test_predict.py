"""``stage=predict`` of an operator: states of a file in, a file of forecasts out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.errors import ConfigError, DataError
from lab.tasks.operator_learning import forecasts
from lab.tasks.operator_learning.data.advection import AdvectionDataModule
from lab.tasks.operator_learning.forecasts import Npz, chosen_format
from lab.tasks.operator_learning.predict import OperatorLearningPredictor
from tests.dist.plain import make_trainer
from tests.unit.tasks.operator_learning.makers import make_spec, make_task

ROLLOUT = {"steps": 3, "format": "npz", "pictures": 2, "frames_per_second": 6}


def trainer(callbacks: Any, progress: bool = True) -> Any:
    return make_trainer(callbacks=callbacks)


def make_data() -> AdvectionDataModule:
    return AdvectionDataModule(resolution=8, waves=3, batch_size=2)


def states(folder: Path, count: int = 3) -> tuple[str, np.ndarray]:
    fields = np.random.default_rng(0).normal(size=(count, 1, 8, 8)).astype(np.float32)
    np.savez(folder / "states.npz", fields=fields, times=np.arange(count) * 3600)
    return str(folder / "states.npz"), fields


def run(folder: Path, source: str, data: Any = None, task: Any = None, **settings: Any) -> Path:
    data = data or make_data()
    task = task or make_task(data.spec)
    OperatorLearningPredictor(source, task, data, {"rollout": ROLLOUT | settings}).run(trainer, folder / "out", 0)
    return folder / "out"


def test_forecasts_are_those_in_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, fields = states(tmp_path)
    out = run(tmp_path, source)
    assert sorted(path.name for path in out.iterdir()) == ["forecast.npz", "pictures"]
    assert [path.name for path in sorted((out / "pictures").iterdir())] == ["forecast-00000.gif", "forecast-00001.gif"]
    with np.load(out / "forecast.npz") as found:
        assert set(found) == {"forecasts", "channels", "units", "leads", "starts"}
        assert found["channels"].tolist() == ["u"]
        assert found["starts"].tolist() == [0, 3600, 7200]
        np.testing.assert_allclose(found["leads"], [0.125, 0.25, 0.375])
        wanted = make_task(make_data().spec).predict(fields, steps=3)
        for one, other in zip(found["forecasts"], wanted, strict=True):
            np.testing.assert_allclose(one, other.fields.numpy(), rtol=1e-5, atol=1e-6)
    said = capsys.readouterr().out
    assert f"3 forecasts of 3 steps: u\nwritten   {out}/forecast.npz\npictures  {out}/pictures" in said


def test_netcdf_is_read_by_xarray(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    source, _ = states(tmp_path)
    first = run(tmp_path, source)
    run(tmp_path, source, format="netcdf", pictures=0)
    with xarray.open_dataset(first / "forecast.nc") as found, np.load(first / "forecast.npz") as other:
        assert dict(found.sizes) == {"sample": 3, "lead": 3, "y": 8, "x": 8}
        np.testing.assert_array_equal(found["u"].values, other["forecasts"][:, :, 0])
        np.testing.assert_allclose(found["lead"].values, other["leads"])
        assert found["start"].values.astype("datetime64[s]").astype(int).tolist() == [0, 3600, 7200]


def test_netcdf_of_a_globe_has_its_coordinates(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    spec = make_spec()
    file = forecasts.NetCDF(tmp_path, spec, (1, 2, 2, 4, 6), None)
    fields = np.random.default_rng(0).normal(size=(2, 2, 4, 6)).astype(np.float32)
    file.write(0, fields)
    file.close()
    with xarray.open_dataset(tmp_path / "forecast.nc") as found:
        assert found["t 2m"].dims == ("sample", "lead", "latitude", "longitude")
        assert found["latitude"].values.tolist() == [90, 30, -30, -90]
        assert (found["t 2m"].attrs["units"], found["lead"].attrs["unit"]) == ("K", "h")
        np.testing.assert_array_equal(found["t 2m"].values[0], fields[:, 1])


def test_one_that_diverges_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, _ = states(tmp_path)
    out = run(tmp_path, source, task=make_task(make_data().spec, factor=-1e20), pictures=1)
    said = capsys.readouterr().err
    assert "warning: forecast 2 is not finite from step 3 on\n" in said or "from step 2 on" in said
    with np.load(out / "forecast.npz") as found:
        assert not np.isfinite(found["forecasts"]).all()


class _Stops(AdvectionDataModule):
    """The second batch cannot be put together."""

    def collate(self, samples: Any) -> Any:
        """Return the first batch alone."""
        if samples[0].number:
            raise KeyboardInterrupt
        return super().collate(samples)


def test_one_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    source, _ = states(tmp_path)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path, source, data=_Stops(resolution=8, waves=3, batch_size=2))
    assert [path.name for path in tmp_path.iterdir()] == ["states.npz"]


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "none.npz", fields=np.zeros((0, 1, 8, 8), np.float32))
    with pytest.raises(DataError, match=r"none\.npz"):
        run(tmp_path, str(tmp_path / "none.npz"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert chosen_format("auto") == "npz"
    with pytest.raises(
        ConfigError, match=r"^rollout\.format=netcdf needs xarray and h5netcdf, which are not installed"
    ):
        chosen_format("netcdf")


def test_an_npz_is_not_held_in_memory(tmp_path: Path) -> None:
    """Its array is mapped, and what is left of the writing is the file alone."""
    file = Npz(tmp_path, make_spec(), (2, 1, 2, 4, 6), [5, 6])
    assert isinstance(file._array, np.memmap)
    for number in range(2):
        file.write(number, np.full((1, 2, 4, 6), number, np.float32))
    file.close()
    assert [path.name for path in tmp_path.iterdir()] == ["forecast.npz"]
    with np.load(tmp_path / "forecast.npz") as found:
        assert found["forecasts"].mean((1, 2, 3, 4)).tolist() == [0, 1]
        assert torch.from_numpy(found["leads"]).tolist() == [6.0]
