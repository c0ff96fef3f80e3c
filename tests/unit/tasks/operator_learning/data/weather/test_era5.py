"""data=era5 and data=winds: splits, samples, statistics, climatology, forcings, on generated and on real files."""

import json
import logging
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.errors import ConfigError, DataError
from lab.tasks.operator_learning.data.weather.era5 import Era5DataModule
from tests.unit.tasks.operator_learning.data.weather.makers import LATITUDES, LONGITUDES, dataset, hours, netcdf, states

pytest.importorskip("xarray", reason="needs xarray: pip install 'lab[fields]'")
SPLITS = {
    "train": ["2020-01-01", "2020-01-20"],
    "val": ["2020-01-21", "2020-01-25"],
    "test": ["2020-01-26", "2020-01-31"],
}
WINDS = Path("/usr/share/ferret-vis/data")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.data.cached.cache_folder", lambda: made(tmp_path / "cache"))
    monkeypatch.setattr("lab.data.caches.cache_folder", lambda: made(tmp_path / "cache"))


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def module(root, **options) -> Era5DataModule:
    return Era5DataModule(str(root), **{**SPLITS, **options})


@pytest.fixture
def january(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    netcdf(folder / "jan.nc", hours("2020-01-01", 124))
    return folder


def test_samples_are_the_states_of_the_file_with_their_times_forcings_and_climatology(january):
    data = module(january, forcings=["time_of_day", "latitude"], eval_steps=3)
    times = hours("2020-01-01", 124)
    truth = states(times).astype(np.float32)
    sample = data.dataset("test")[(0, 2)]
    first = 25 * 4 + 2
    np.testing.assert_array_equal(sample.fields, truth[first][None])
    np.testing.assert_array_equal(sample.targets[:, 0], truth[first + 1 : first + 4])
    assert sample.time == times[first].astype("datetime64[s]").astype(int)
    expected = np.stack([truth[hour:80:4].mean(0) for hour in [(first + 1) % 4, (first + 2) % 4, (first + 3) % 4]])
    np.testing.assert_allclose(sample.climatology[:, 0], expected, rtol=1e-6)
    angle = 2 * np.pi * (12 + 6 * np.arange(3)[:, None]) / 24 + np.deg2rad(LONGITUDES)
    np.testing.assert_allclose(sample.forcings[:, 0, 0], np.sqrt(2) * np.sin(angle), atol=1e-6)
    south = np.sin(np.deg2rad(LATITUDES))
    np.testing.assert_allclose(sample.forcings[0, 2, :, 5], (south - south.mean()) / south.std(), rtol=1e-5)
    assert [len(data.dataset(split)) for split in SPLITS] == [79, 17, 21]
    spec = data.spec
    assert (spec.channels, spec.units, spec.step, spec.step_unit, spec.periodic) == (("t2m",), ("K",), 6, "h", ())
    np.testing.assert_allclose(
        [spec.means[0], spec.stds[0]], [truth[:80].mean(dtype=float), truth[:80].std(dtype=float)]
    )
    batch = next(iter(data.val_dataloader()))
    np.testing.assert_allclose(batch.fields[0, 0] * spec.stds[0] + spec.means[0], truth[80], rtol=1e-6)
    assert data.dataset("train")[(0, 0)].climatology is None


def test_baselines_of_the_shared_file_are_those_of_its_json():
    folder = Path(os.environ.get("LAB_DATA_DIR", "data")) / "weather_era5"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    dates = {"train": ["2019-03-01", "2019-03-20"], "val": ["2019-03-21", "2019-03-24"]}
    expected = json.loads((folder / "era5_uk_t2m_baselines.json").read_text())["values"]

    def rmse(start: str, baseline: str, **options) -> float:
        data = Era5DataModule(str(folder), **dates, test=[start, "2019-03-31"], batch_size=64, **options)
        weights = np.cos(np.deg2rad(data.spec.latitudes))[:, None]
        errors = []
        for batch in data.test_dataloader():
            guess = batch.fields[:, None] if baseline == "persistence" else batch.climatology
            apart = (guess - batch.targets.fields)[batch.valid].double().numpy() * data.spec.stds[0]
            errors.extend((apart**2 * weights / weights.mean()).mean((1, 2, 3, 4)))
        return float(np.sqrt(np.mean(errors)))

    for lead in (1, 6, 12, 24):  # worst relative error measured: 2e-8
        found = rmse("2019-03-25", "persistence", step_hours=lead)
        assert found == pytest.approx(expected[f"persistence_rmse_K_lead{lead}h"], rel=1e-6)
    # Every hour of the test is a target: the first start is six hours earlier. Worst relative error measured: 1e-6.
    found = rmse("2019-03-24T18", "climatology")
    assert found == pytest.approx(expected["train_hourly_climatology_rmse_K"], rel=3e-6)
    found = rmse("2019-03-24T18", "climatology", climatology=[])
    assert found == pytest.approx(expected["train_mean_rmse_K"], rel=3e-6)


def test_baselines_of_winds_are_those_known():
    if not (WINDS / "monthly_navy_winds.cdf").is_file():
        pytest.skip(f"needs {WINDS}: apt-get install ferret-datasets")
    ranges = {"train": ["1982-01", "1989-12"], "val": ["1988-12", "1989-12"], "test": ["1989-12", "1992-12"]}
    data = Era5DataModule(
        "/nowhere",
        fallback_root=str(WINDS),
        files="monthly_navy_winds.cdf",
        step_hours=730.5,
        drop_last_row=True,
        **ranges,
    )
    with pytest.raises(DataError, match=r"12 states are targets of data.train and of data.val"):
        data.dataset("train")
    ranges["val"] = ["1989-12", "1992-12"]  # all 96 months train, as in the known figures
    data = Era5DataModule("/nowhere", fallback_root=str(WINDS), files="monthly_navy_winds.cdf", step_hours=730.5,
                          drop_last_row=True, batch_size=36, **ranges)  # fmt: skip
    assert (data.spec.channels, data.spec.grid, data.spec.periodic) == (("UWND", "VWND"), (72, 144), (1,))
    assert data.statistics.parts == ("month",)
    (batch,) = data.test_dataloader()
    weights = np.cos(np.deg2rad(data.spec.latitudes))[:, None]
    scale = np.array(data.spec.stds)[:, None, None]
    for guess, known in ((batch.fields[:, None], 2.154), (batch.climatology, 1.932)):
        apart = (guess - batch.targets.fields).double().numpy() * scale
        found = np.sqrt((apart**2 * weights / weights.mean()).mean())
        assert found == pytest.approx(known, abs=6e-4)


def test_statistics_are_kept_under_a_fingerprint_of_the_content(january, caplog, tmp_path):
    caplog.set_level(logging.INFO)
    first = module(january).spec
    assert "kept in the cache" in caplog.text
    caplog.clear()
    again = module(january)
    assert again.spec == first
    assert not caplog.text
    assert len(list((tmp_path / "cache" / "lab-fields").glob("[0-9a-f]*"))) == 1
    print_ = again.fingerprint()
    netcdf(january / "jan.nc", hours("2020-01-01", 124), values=states(hours("2020-01-01", 124)) + 1)
    other = module(january)
    assert other.spec.means[0] == pytest.approx(first.means[0] + 1, rel=1e-6)
    assert other.fingerprint() != print_


def test_odd_states_are_sorted_left_out_counted_and_said(tmp_path, caplog):
    times = hours("2020-01-01", 124)
    values = states(times)
    values[10, 2, 3] = np.nan
    kept = np.delete(np.arange(124), [50, 51])  # two steps are missing
    order = np.concatenate([kept[60:], kept[:61]])  # later ones first, and one twice
    netcdf(tmp_path / "odd.nc", times[order], values=values[order])
    data = module(tmp_path)
    assert len(data.dataset("train")) == 79 - 2 - 1 - 2  # NaN: as a start and as a target; a gap of two: as targets
    sample = data.dataset("train")[(0, 0)]
    np.testing.assert_array_equal(sample.fields[0], values[0].astype(np.float32))
    assert data.rows_read()["data.train"] == {
        "rows": 78,
        "used": 74,
        "left_out": {"a later state is missing": 1, "values are not finite": 2},
    }
    assert "1 states of a time that another one has, left out" in caplog.text
    assert "1 states earlier than the one before, sorted" in caplog.text
    assert "data.train: 2 of 78 states begin no sample: values are not finite" in caplog.text


def test_files_of_other_order_and_of_other_variables_are_put_on_one_grid(tmp_path, caplog):
    times = hours("2020-01-01", 124)
    east = np.arange(0, 360, 45.0)
    west = np.arange(-180, 180, 45.0)
    netcdf(tmp_path / "a.nc", times[:60], longitudes=east)
    netcdf(
        tmp_path / "b.nc",
        times[60:],
        longitudes=west,
        latitudes=LATITUDES[::-1],
        names=("time", "latitude", "longitude"),
    )
    netcdf(tmp_path / "c.nc", times[:-4], name="u10", values=states(times[:-4], LATITUDES, east) - 280, longitudes=east)
    data = module(tmp_path, variables=["u10", "t2m"])
    series = data.series
    assert series.grid.periodic
    assert (len(series), series.units) == (120, ("K", "K"))
    truth = states(times, LATITUDES, east).astype(np.float32)
    np.testing.assert_allclose(series.read(np.arange(120))[:, 1], truth[:120], rtol=1e-6)
    np.testing.assert_allclose(series.read(np.array([70, 3]))[:, 0], truth[[70, 3]] - 280, atol=1e-4)
    assert "1 of 3 files have rows or columns in another order" in caplog.text
    assert "4 states without all variables" in caplog.text


def test_packed_values_levels_and_zarr_and_netcdf3_are_read(tmp_path):
    times = hours("2020-01-01", 8)
    truth = states(times)
    packed = dataset(times)
    packed.to_netcdf(
        tmp_path / "packed.nc",
        engine="h5netcdf",
        encoding={"t2m": {"dtype": "int16", "scale_factor": 0.001, "add_offset": 280.0, "_FillValue": -32768}},
    )
    levels = packed.expand_dims({"level": [500, 850]}, axis=1).assign(t=lambda found: found.t2m)[["t"]]
    levels.to_netcdf(tmp_path / "old.nc", engine="scipy")
    levels.to_zarr(tmp_path / "levels.zarr", consolidated=False)
    dates = {
        "train": ["2020-01-01", "2020-01-01"],
        "val": ["2020-01-02", "2020-01-02"],
        "test": ["2020-01-02", "2020-01-02"],
    }
    for name, variables in (("packed.nc", None), ("old.nc", ["t@850"]), ("levels.zarr", ["t@500"])):
        data = Era5DataModule(str(tmp_path), files=name, variables=variables, **dates)
        np.testing.assert_allclose(data.series.read(np.arange(8))[:, 0], truth, atol=6e-4)
    everything = Era5DataModule(str(tmp_path), files="levels.zarr", **dates)
    assert everything.series.channels == ("t@500", "t@850")
    with pytest.raises(DataError, match=r"no level 200, only 500, 850"):
        Era5DataModule(str(tmp_path), files="old.nc", variables=["t@200"], **dates).spec  # noqa: B018
    with pytest.raises(DataError, match=r"'t' has the levels 500, 850: name one, as t@500"):
        Era5DataModule(str(tmp_path), files="old.nc", variables=["t"], **dates).spec  # noqa: B018


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"latitudes": np.deg2rad(LATITUDES), "longitudes": np.linspace(0, 6.2, 8)}, "look like radians"),
        ({"latitudes": np.linspace(0, 300, 6)}, "reach 300, beyond 90 degrees; are they longitudes"),
        ({"latitudes": np.array([60, 58, 59, 54, 52, 50.0])}, "latitudes do not rise or fall from each to the next"),
        ({"longitudes": np.array([0, 1, 1, 2, 3, 4, 5, 6.0])}, "do not rise from each to the next: see number 3"),
        ({"longitudes": np.linspace(0, 360, 8)}, "go round more than once"),
        ({"name": "precipitation"}, "none of the variables t2m, only precipitation"),
        ({"values": np.full((124, 6, 8), 3.0)}, "'t2m' is the same at every point and time of data.train"),
        ({"values": np.full((124, 6, 8), np.nan)}, "every state of data.train has values that are not finite"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_by_one_line(tmp_path, change, line):
    netcdf(tmp_path / "bad.nc", hours("2020-01-01", 124), **change)
    with pytest.raises(DataError, match=line) as caught:
        module(tmp_path, variables=["t2m"]).spec  # noqa: B018
    assert "\n" not in str(caught.value)
    assert "bad.nc" in str(caught.value)


def test_unequal_grids_broken_files_and_units_are_refused(tmp_path):
    netcdf(tmp_path / "a.nc", hours("2020-01-01", 60))
    netcdf(tmp_path / "b.nc", hours("2020-01-16", 64), longitudes=LONGITUDES + 1)
    with pytest.raises(
        DataError, match=r"b.nc: its grid is 6 x 8, latitudes 60 to 50, longitudes -9 to 5, and that of"
    ):
        module(tmp_path).spec  # noqa: B018
    (tmp_path / "b.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"b.nc cannot be read: "):
        module(tmp_path).spec  # noqa: B018
    (tmp_path / "b.nc").write_bytes(b"PNG or so")
    with pytest.raises(DataError, match=r"begins with 50 4e 47 20, and NetCDF, Zarr, .npz and GRIB are read"):
        module(tmp_path).spec  # noqa: B018
    (tmp_path / "b.nc").write_bytes(b"GRIB and so on")
    with pytest.raises(DataError, match=r"is GRIB, which is read if cfgrib is installed|cannot be read"):
        module(tmp_path).spec  # noqa: B018
    found = dataset(hours("2020-01-01", 60))
    found["lon"].attrs["units"] = "radians"
    found.to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(DataError, match=r"its longitudes are in 'radians', and degrees are read"):
        module(tmp_path, files="b.nc").spec  # noqa: B018
    dataset(hours("2020-01-01", 60)).isel(time=0, drop=True).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    with pytest.raises(DataError, match=r"no variable with dates on a grid.*; t2m has no dates"):
        module(tmp_path, files="b.nc").spec  # noqa: B018


def test_npz_files_need_times_coordinates_and_arrays_of_their_shape(tmp_path):
    times = hours("2020-01-01", 124)
    whole = {"t2m": states(times).astype(np.float32), "time": times, "lat": LATITUDES, "lon": LONGITUDES}
    np.savez(tmp_path / "a.npz", **whole)
    assert module(tmp_path).series.read(np.array([3]))[0, 0, 0, 0] == whole["t2m"][3, 0, 0]
    for change, line in (
        ({"lat": None}, r"a.npz: it has no array 'lat' or 'latitude', only t2m, time, lon"),
        ({"t2m": whole["t2m"][:5]}, r"a.npz/t2m: float32 of \(5, 6, 8\), and numbers of \(124, 6, 8\) are read"),
        (
            {"time": np.arange(124) * 0.5},
            r"its times are float64; whole seconds since 1970 and dates of NumPy are read",
        ),
    ):
        np.savez(tmp_path / "a.npz", **{name: value for name, value in (whole | change).items() if value is not None})
        with pytest.raises(DataError, match=line):
            module(tmp_path).spec  # noqa: B018


def test_loader_processes_read_what_one_process_reads(january, monkeypatch):
    monkeypatch.setattr("lab.tasks.operator_learning.data.weather.series.MOST_IN_MEMORY", 0)
    alone, helped = module(january, batch_size=8), module(january, batch_size=8, num_workers=1)
    assert helped.spec == alone.spec  # the file is open before the fork
    for one, other in zip(alone.test_dataloader(), helped.test_dataloader(), strict=True):
        torch.testing.assert_close(one.fields, other.fields)
        torch.testing.assert_close(one.climatology, other.climatology)


def test_wrong_settings_are_refused(january):
    for range_ in (["2020-02-01", "2020-01-01"], ["2020-13-01", "2021"], ["2020"], "2020"):
        with pytest.raises(
            ConfigError, match=r"give two dates in order, as \[2019-03-01, 2019-03-20\] or \[1979, 2015\]"
        ):
            module(january, train=range_)
    with pytest.raises(DataError, match=r"there is no state in these dates; the files have 2020-01-01T00:00:00 to"):
        module(january, test=[2021, 2022]).dataset("test")
    with pytest.raises(DataError, match=r"states are targets of data.train and of data.val"):
        module(january, train=[2020, 2020]).dataset("train")
    with pytest.raises(ConfigError, match=r"data.step_hours=3: .*jan.nc has a state every 6 hours, no more often"):
        module(january, step_hours=3).dataset("train")
    with pytest.raises(DataError, match=r"none of its 80 states has the states of 1 steps of 9 hours after it"):
        module(january, step_hours=9).dataset("train")
    with pytest.raises(ConfigError, match=r"data.forcings has orography: name its file"):
        module(january, forcings=["orography"]).spec  # noqa: B018
    with pytest.raises(ConfigError, match=r"data.climatology="):
        module(january, climatology=["week"]).spec  # noqa: B018


def test_orography_is_put_on_the_grid_and_predictions_read_netcdf(january, tmp_path):
    height = np.arange(48.0).reshape(6, 8)
    field = dataset(hours("2020-01-01", 1), latitudes=LATITUDES[::-1], values=height[None, ::-1], name="z")
    field.isel(time=0, drop=True).to_netcdf(january / "static.nc", engine="h5netcdf")
    data = module(january, files="jan.nc", forcings=["orography", "time_of_year"], orography="static.nc", eval_steps=2)
    sample = data.dataset("test")[(0, 0)]
    np.testing.assert_allclose(sample.forcings[1, 0], (height - height.mean()) / height.std(), rtol=1e-5)
    np.testing.assert_allclose(sample.forcings[0, 1], np.sqrt(2) * np.sin(2 * np.pi * 25 / 365.2425), rtol=1e-5)
    assert data.spec.forcings == ("orography", "year_sin", "year_cos")
    inputs = data.build_inputs([netcdf(tmp_path / "now.nc", hours("2020-01-26", 2))])
    assert len(inputs) == 2
    torch.testing.assert_close(inputs[(0, 0)].fields, sample.fields)
    torch.testing.assert_close(inputs[(0, 0)].forcings, sample.forcings)
    assert inputs[(0, 0)].targets.shape == (0, 1, 6, 8)
    assert inputs[(0, 1)].time == sample.time + 6 * 3600
    other = module(
        january, files="jan.nc", forcings=["orography", "time_of_year"], orography="static.nc", variables=["t2m"]
    )
    other.follow(data.spec)  # a prediction measures nothing of the training data
    other.eval_steps = 400
    assert "statistics" not in vars(other)
    far = other.build_inputs([tmp_path / "now.nc"])[(0, 1)]
    assert far.forcings.shape == (400, 3, 6, 8)
    batch = other.collate([far])
    torch.testing.assert_close(
        batch.fields[0], (far.fields - data.spec.means[0]) / data.spec.stds[0], rtol=1e-4, atol=1e-5
    )
    with pytest.raises(
        DataError, match=r"the network of the checkpoint also reads orography, year_sin, year_cos, and data"
    ):
        module(january, files="jan.nc").follow(data.spec)


def test_a_file_larger_than_the_memory_in_use_is_read_state_by_state(tmp_path, monkeypatch):
    """A file of 20 MB is measured, normalised and read with 4.0 MB (measured): blocks of 1 MB, and their sums."""
    times = hours("2020-01-01", 124)
    latitudes, longitudes = np.linspace(90, -90, 120), np.linspace(0, 359, 340)
    netcdf(tmp_path / "large.nc", times, latitudes=latitudes, longitudes=longitudes)
    monkeypatch.setattr("lab.tasks.operator_learning.data.weather.series.MOST_IN_MEMORY", 1 << 20)
    monkeypatch.setattr("lab.tasks.operator_learning.data.weather.series.BLOCK", 1 << 20)
    data = module(tmp_path, climatology=["hour"])
    total = len(data.series) * data.series.state_bytes
    assert total > 20e6
    tracemalloc.start()  # NumPy reports its arrays to it
    try:
        data.spec  # noqa: B018
        for index in range(40):
            data.dataset("test" if index % 2 else "train")[(0, index // 2)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < total / 4, peak  # measured: 4.0 MB


def test_a_network_reads_columns_in_the_order_of_its_training(tmp_path, caplog):
    """Other data and inputs from -180 are put in the order of the checkpoint's; another place is refused."""
    times, east, west = hours("2020-01-01", 124), np.arange(0, 360, 45.0), np.arange(-180, 180, 45.0)
    for name, longitudes in (("east", east), ("west", west), ("shifted", east + 10)):
        (tmp_path / name).mkdir()
        netcdf(tmp_path / name / "a.nc", times, longitudes=longitudes)
    trained, other = module(tmp_path / "east"), module(tmp_path / "west")
    assert other.series.grid.longitudes[0] == -180
    other.follow(trained.spec)
    assert other.series.grid == trained.series.grid
    for split in ("train", "test"):
        one, same = trained.dataset(split)[(0, 0)], other.dataset(split)[(0, 0)]
        np.testing.assert_allclose(one.fields, same.fields, rtol=1e-6)
    np.testing.assert_allclose(trained.statistics.climatology, other.statistics.climatology, rtol=1e-5)
    assert "another order than what the network was trained on" in caplog.text
    own, theirs = (trained.build_inputs([tmp_path / name / "a.nc"])[(0, 0)] for name in ("east", "west"))
    np.testing.assert_allclose(own.fields, theirs.fields, rtol=1e-6)
    with pytest.raises(DataError, match=r"shifted.*longitudes 10 to 325, and that of what the network was trained on"):
        trained.build_inputs([tmp_path / "shifted" / "a.nc"])
