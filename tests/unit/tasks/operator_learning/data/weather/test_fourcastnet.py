"""data=fourcastnet: the layout of NVlabs/FourCastNet, its statistics, and what it does at the end of a year."""

from pathlib import Path

import numpy as np
import pytest

from lab.errors import ConfigError, DataError
from lab.tasks.operator_learning.data.weather.fourcastnet import FourCastNetDataModule
from tests.unit.tasks.operator_learning.data.weather.makers import year_file

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'lab[fields]'")
YEAR = 1460  # states of a year of 365 days


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """1999 and the leap year 2000, whose file ends on 30 December as FourCastNet's do, 2001 and 2002."""
    folder = tmp_path_factory.mktemp("fourcastnet")
    for place, year in (("train", 1999), ("train", 2000), ("train", 2001), ("test", 2003), ("out_of_sample", 2005)):
        year_file(folder / place / f"{year}.h5", YEAR if place == "train" else 12)
    random = np.random.default_rng(0)
    np.save(folder / "global_means.npy", random.normal(size=(1, 3, 1, 1)))
    np.save(folder / "global_stds.npy", 1 + random.random(size=(1, 3, 1, 1)))
    np.save(folder / "time_means.npy", random.normal(size=(1, 3, 9, 16)))
    with h5py.File(folder / "orography.h5", "w") as file:
        file["orog"] = random.normal(size=(9, 16)).astype(np.float32)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.data.caches.cache_folder", lambda: tmp_path)


def module(root: Path, **options) -> FourCastNetDataModule:
    return FourCastNetDataModule(str(root), channels=["u10", "t2m", "z500"], drop_last_row=True, **options)


def fields(root: Path, name: str) -> np.ndarray:
    with h5py.File(root / name) as file:
        return file["fields"][()]


def test_fields_statistics_climatology_and_orography_are_those_of_the_files(root):
    data = module(root, variables=["z500", "u10"], forcings=["orography"], orography="orography.h5", eval_steps=2)
    spec, truth = data.spec, fields(root, "out_of_sample/2005.h5")[:, [2, 0], :8]
    assert (spec.channels, spec.units, spec.grid, spec.periodic) == (
        ("z500", "u10"),
        ("m**2 s**-2", "m s**-1"),
        (8, 16),
        (1,),
    )
    assert spec.latitudes[:2] == (90, 67.5)  # eight of nine rows; the south pole is dropped
    np.testing.assert_array_equal(spec.means, np.load(root / "global_means.npy")[0, [2, 0], 0, 0])
    sample = data.dataset("test")[(0, 3)]
    np.testing.assert_array_equal(sample.fields, truth[3])
    np.testing.assert_array_equal(sample.targets, truth[4:6])
    means = np.load(root / "time_means.npy")[0, [2, 0], :8].astype(np.float32)
    np.testing.assert_array_equal(sample.climatology, np.stack([means, means]))
    with h5py.File(root / "orography.h5") as file:
        height = file["orog"][:8].astype(float)
    np.testing.assert_allclose(sample.forcings[0, 0], (height - height.mean()) / height.std(), rtol=1e-5)
    assert sample.time == np.datetime64("2005-01-01T18", "s").astype(int)
    assert len(data.dataset("test")) == 10


def test_targets_beyond_a_year_are_in_the_next_file_where_times_meet(root):
    data = module(root)
    train = data.dataset("train")
    # 1999 leads over to 2000; the file of 2000 ends a day early; nothing follows the last state.
    assert len(train) == 3 * YEAR - 2
    np.testing.assert_array_equal(train[(0, YEAR - 1)].targets[0], fields(root, "train/2000.h5")[0, :, :8])
    assert data.rows_read()["data.train"]["left_out"] == {"a later state is missing": 1}
    two = module(root, train_steps=2).dataset("train")
    assert len(two) == 3 * YEAR - 4
    np.testing.assert_array_equal(two[(0, 5)].targets, fields(root, "train/1999.h5")[6:8, :, :8])


def test_ends_of_years_as_published(root):
    years = [fields(root, f"train/{year}.h5")[:, :, :8] for year in (1999, 2000, 2001)]
    one = module(root, year_ends="published").dataset("train")
    assert len(one) == 3 * YEAR
    for year in (0, 1):  # the last state of a year is its own target
        last = one[(0, YEAR * (year + 1) - 1)]
        np.testing.assert_array_equal(last.fields, years[year][-1])
        np.testing.assert_array_equal(last.targets[0], years[year][-1])
        np.testing.assert_array_equal(one[(0, YEAR * (year + 1) - 2)].targets[0], years[year][-1])
    two = module(root, year_ends="published", train_steps=2).dataset("train")
    for index in (YEAR - 3, YEAR - 2, YEAR - 1):  # starts without two steps become the last one that has them
        sample = two[(0, index)]
        np.testing.assert_array_equal(sample.fields, years[0][-3])
        np.testing.assert_array_equal(sample.targets, years[0][-2:])
    with pytest.raises(ConfigError, match=r"data.year_ends=published is for one step or two, not 3"):
        module(root, year_ends="published", train_steps=3)


def test_wrong_files_are_refused_by_one_line(root, tmp_path):
    with pytest.raises(
        DataError, match=r"it has 3 channels, and data.channels names 4|has 3 channels, and data.channels"
    ):
        FourCastNetDataModule(str(root), channels=["u10", "v10", "t2m", "sp"]).spec  # noqa: B018
    with pytest.raises(ConfigError, match=r"data.variables: 'z50' is none of data.channels, u10, t2m, z500"):
        module(root, variables=["z50"])
    for split in ("train", "test", "out_of_sample"):
        year_file(tmp_path / split / f"{1990 + len(split)}.h5", 8)
    with pytest.raises(DataError, match=r"global_means.npy"):
        module(tmp_path).spec  # noqa: B018
    np.save(tmp_path / "global_means.npy", np.zeros((1, 2, 1, 1)))
    with pytest.raises(DataError, match=r"its shape is \(1, 2, 1, 1\), and \(1, 3, 1, 1\) is read"):
        module(tmp_path).spec  # noqa: B018
    np.save(tmp_path / "global_means.npy", np.zeros((1, 3, 1, 1)))
    np.save(tmp_path / "global_stds.npy", np.zeros((1, 3, 1, 1)))
    with pytest.raises(DataError, match=r"global_stds.npy: a deviation is not above 0"):
        module(tmp_path).spec  # noqa: B018
    np.save(tmp_path / "global_stds.npy", np.ones((1, 3, 1, 1)))
    with h5py.File(tmp_path / "test" / "1994.h5", "a") as file:
        file["fields"][2, 1, 3, 4] = np.nan
    data = module(tmp_path, time_means=None)
    with pytest.raises(DataError, match=r"1994.h5 at 1994-01-01T12:00:00: 't2m' has values that are not finite"):
        data.dataset("val")[(0, 1)]
    (tmp_path / "train" / "1995.h5").rename(tmp_path / "train" / "some.h5")
    with pytest.raises(DataError, match=r"some.h5: its name has no year, as 1979.h5 has"):
        module(tmp_path).spec  # noqa: B018
