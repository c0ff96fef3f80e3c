"""Pictures of forecasts: what they show, and where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lab.report.maps import AROUND_0, RISING, draw_map
from lab.tasks.operator_learning.pictures import compared, forecast_panels, lead_time, moving, north_up
from tests.unit.tasks.operator_learning.makers import make_batch, make_spec, make_task


def test_panels_are_of_valid_samples() -> None:
    task, batch = make_task(), make_batch()
    found = list(forecast_panels(task, task(batch), replace(batch, valid=torch.tensor([False, True, True])), 5))
    assert len(found) == 2
    assert len(list(forecast_panels(task, task(batch), batch, 1))) == 1


def test_truth_and_prediction_have_one_scale() -> None:
    """A prediction of 10 where the truth is 0 to 1 has the scale's last colour, and the error that of 10."""
    spec = make_spec(channels=("u",), units=("m/s",), means=(0.0,), stds=(1.0,), input_shape=(1, 4, 6))
    truth, found = np.zeros((1, 4, 6), np.float32), np.full((1, 4, 6), 10, np.float32)
    truth[0, 0, 0] = 1
    pixels = np.asarray(compared(truth, found, spec, 0)).reshape(-1, 3)
    colours = {tuple(colour) for colour in np.unique(pixels, axis=0).tolist()}
    assert {RISING[0], RISING[-1], AROUND_0[-1]} <= colours


def test_north_is_up() -> None:
    field = np.arange(8, dtype=np.float32).reshape(4, 2)
    assert north_up(field, make_spec())[0].tolist() == [0, 1]
    assert north_up(field, make_spec(latitudes=(-90.0, -30.0, 30.0, 90.0)))[0].tolist() == [6, 7]
    assert lead_time(make_spec(), 1) == "+12 h"


def test_a_rollout_moves(tmp_path: Path) -> None:
    spec, fields = make_spec(), np.random.default_rng(0).normal(size=(60, 2, 4, 6)).astype(np.float32)
    shown = moving(fields, spec, 10, truth=fields)
    assert len(shown.frames) == 48  # of 60 in even steps
    shown.save(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as file:
        assert (file.n_frames, file.info["duration"], file.info["loop"]) == (48, 100, 0)
    series = make_spec(input_shape=(2, 24), latitudes=(), longitudes=(), periodic=())
    assert moving(fields[:3].reshape(3, 2, 24), series, 10).frames[0].width == 576


def test_a_map_of_nothing_finite() -> None:
    pixels = np.asarray(draw_map(np.full((2, 2), np.nan), 0, 1))
    assert (pixels[20:100, :100] == (255, 0, 255)).all()
