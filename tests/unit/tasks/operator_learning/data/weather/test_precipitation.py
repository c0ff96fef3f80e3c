"""Rain from winds: the target of FourCastNet's second network, and its training on a frozen first one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.errors import ConfigError
from lab.tasks.operator_learning.data.weather.era5 import Era5DataModule
from lab.tasks.operator_learning.data.weather.precipitation import PrecipitationDataModule, log_rain
from lab.tasks.operator_learning.task import OperatorLearningTask
from tests.unit.tasks.operator_learning.data.weather.makers import dataset, hours
from tests.unit.tasks.operator_learning.makers import EVAL, OPTIMIZER, SCHEDULER

DATES = {"train": ["2019-01-01", "2019-01-03"], "val": ["2019-01-04", "2019-01-04"]}
DATES |= {"test": ["2019-01-05", "2019-01-05"]}
LATITUDES, LONGITUDES = np.linspace(75, -75, 6), np.arange(8) * 45.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    root, times, random = tmp_path_factory.mktemp("rain"), hours("2019-01-01", 20), np.random.default_rng(0)
    values: dict[str, Any] = {name: random.normal(size=(20, 6, 8)) for name in ("u10", "v10")}
    values["tp"] = np.maximum(0, random.normal(size=(20, 6, 8))) * 1e-3
    parts = [dataset(times, LATITUDES, LONGITUDES, name, value) for name, value in values.items()]
    xarray.merge(parts).to_netcdf(root / "rain.nc", engine="h5netcdf")
    return root


def rain_data(folder: Path, **other: Any) -> PrecipitationDataModule:
    given: dict[str, Any] = {**DATES, "variables": ["v10", "u10"], "batch_size": 4, **other}
    return PrecipitationDataModule(str(folder), **given)


def test_the_target_is_the_logarithm_of_the_next_rain(folder: Path) -> None:
    """Against a reader of its own: the state now, and log(1 + tp / 1e-5) six hours later."""
    import xarray

    data = rain_data(folder)
    with xarray.open_dataset(folder / "rain.nc") as file:
        winds = np.stack([file[name].values[2] for name in ("v10", "u10")])
        rain = file["tp"].values[3].astype(np.float64)
    sample = data.dataset("train")[0, 2]
    np.testing.assert_array_equal(sample.fields.numpy(), winds)
    np.testing.assert_allclose(sample.targets[0, 0].numpy(), np.log(1 + rain / 1e-5), rtol=1e-6)
    spec = data.spec
    assert (spec.given, spec.channels, spec.input_shape) == (("v10", "u10"), ("tp",), (2, 6, 8))
    batch = data.collate([sample])
    torch.testing.assert_close(batch.targets.fields[0], sample.targets.float())
    torch.testing.assert_close(batch.fields.std(), torch.tensor(1.0), atol=0.3, rtol=0)
    inputs = data.build_inputs([folder / "rain.nc"])
    np.testing.assert_array_equal(inputs[0, 2].fields.numpy(), winds)
    assert len(inputs) == 20


def test_rain_by_hand() -> None:
    found = log_rain(torch.tensor([0.0, -1e-9, 1e-5, (math.e - 1) * 1e-5]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, math.log(2), 1.0]))


def test_it_is_trained_on_a_frozen_wind_network(folder: Path) -> None:
    """The winds' weights come from a network that was trained on winds, and stay as they are to the bit."""
    sizes = {"patch_size": 2, "embed_dim": 8, "num_layers": 1, "num_blocks": 2}
    winds = Era5DataModule(str(folder), **DATES, variables=["v10", "u10"])
    settings: Any = (OPTIMIZER, SCHEDULER, 3, EVAL)
    first = OperatorLearningTask({"_target_": "afno_fourcastnet", **sizes}, winds.spec.to_plain(), *settings)
    data = rain_data(folder)
    task = OperatorLearningTask({"_target_": "precipitation_net", **sizes}, data.spec.to_plain(), *settings)
    task.net.load_state_dict(task.net.adapt_weights(first.net.state_dict()), strict=True)
    for name, value in first.net.state_dict().items():
        assert torch.equal(task.net.winds.state_dict()[name], value)
    task.net.conv.bias.data.fill_(1.0)  # below 0 the last ReLU may let nothing through, and no gradient
    before = {name: value.clone() for name, value in task.net.state_dict().items()}
    samples = data.dataset("train")
    batch = data.collate([samples[0, number] for number in range(4)])
    optimizer = task.configure_optimizers()["optimizer"]
    _, terms = task.train().terms(batch)
    terms["loss_l2"].sum.backward()
    optimizer.step()
    changed = {name for name, value in task.net.state_dict().items() if not torch.equal(before[name], value)}
    assert changed
    assert all(name.startswith(("backbone.", "conv.")) for name in changed)
    assert (task.predict_step(replace(batch), 0)[1][0].fields >= 0).all()  # a ReLU ends it


def test_what_is_refused(folder: Path) -> None:
    for variables in (None, ["u10", "tp"]):
        with pytest.raises(ConfigError, match=r"^data\.variables=.*: name what the network reads, in the order of its"):
            rain_data(folder, variables=variables)
    with pytest.raises(ConfigError, match=r"^data\.train_steps and data\.eval_steps are 1: precipitation is not fed b"):
        rain_data(folder, eval_steps=2)
