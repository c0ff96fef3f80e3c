"""An operator's loss, rollout and predictions, against numbers by hand; what it refuses."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from lab.errors import ConfigError, DataError
from tests.unit.tasks.operator_learning.makers import make_batch, make_spec, make_task

STEADY = {"given": ("k",), "given_means": (0.0,), "given_stds": (1.0,), "step": 0.0, "input_shape": (1, 4, 6)}


def test_the_loss_is_fourcastnets_relative_norm() -> None:
    """mean over samples of ||p - y|| / ||y||, all channels and points of a sample together."""
    task, batch = make_task(), make_batch()
    found, terms = task.terms(batch)
    apart, truth = (found - batch.targets.fields)[:, 0].flatten(1), batch.targets.fields[:, 0].flatten(1)
    torch.testing.assert_close(terms["loss_l2"].sum, (apart.norm(dim=1) / truth.norm(dim=1)).sum())
    assert dict(task.totals(batch)) == {"samples": 3.0}
    assert task.dry_run(batch) == "fields (3, 2, 4, 6) -> forecasts (3, 2, 2, 4, 6)"


@pytest.mark.parametrize(("name", "term"), [("mse", "loss_mse"), ("mae", "loss_mae"), ("relative_l2", "loss_l2")])
def test_other_losses_and_weights_of_latitudes(name: str, term: str) -> None:
    """Rows at the poles weigh 0, those at 30 degrees 2."""
    task, batch = make_task(learning={"loss": name, "weigh_latitudes": True}), make_batch()
    found, terms = task.terms(batch)
    inner = (found - batch.targets.fields)[:, 0, :, 1:3]
    truth = batch.targets.fields[:, 0, :, 1:3].flatten(1)
    expected = {
        "mse": inner.square().flatten(1).mean(1).sum(),
        "mae": inner.abs().flatten(1).mean(1).sum(),
        "relative_l2": (inner.flatten(1).norm(dim=1) / truth.norm(dim=1)).sum(),
    }
    torch.testing.assert_close(terms[term].sum, expected[name])


def test_a_perfect_forecast_has_a_gradient() -> None:
    """Where the error is 0 its norm has no derivative; 0 is taken."""
    task, batch = make_task(), make_batch(steps=1)
    batch = replace(batch, targets=type(batch.targets)(task(batch).detach()))
    _, terms = task.terms(batch)
    terms["loss_l2"].sum.backward()
    assert float(terms["loss_l2"].sum.detach()) == 0
    assert task.net.weight.grad.abs().max() == 0


def test_two_steps_are_fed_back_and_their_losses_added() -> None:
    """FourCastNet's second stage; the gradient passes through both steps."""
    task, batch = make_task(learning={"loss": "mse", "steps": 2}), make_batch()
    first = task.net(batch.fields)
    second = task.net(first)
    found, terms = task.terms(batch)
    torch.testing.assert_close(found, torch.stack([first, second], 1))
    expected = (found - batch.targets.fields).square().flatten(2).mean(2).sum()
    torch.testing.assert_close(terms["loss_mse"].sum, expected)
    (gradient,) = torch.autograd.grad(terms["loss_mse"].sum, task.net.weight, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected, task.net.weight)
    torch.testing.assert_close(gradient, wanted)


def test_a_change_is_added_to_the_state() -> None:
    task, batch = make_task(learning={"predicts": "change"}), make_batch()
    first = batch.fields + task.net(batch.fields)
    torch.testing.assert_close(task(batch), torch.stack([first, first + task.net(first)], 1))


def test_forcings_are_joined_anew_in_each_step() -> None:
    spec = make_spec(forcings=("orography", "sun"), input_shape=(4, 4, 6))
    task, batch = make_task(spec), make_batch(spec)
    assert batch.forcings is not None
    first = task.net(torch.cat([batch.fields, batch.forcings[:, 0]], 1))
    second = task.net(torch.cat([first, batch.forcings[:, 1]], 1))
    torch.testing.assert_close(task(batch), torch.stack([first, second], 1))
    with pytest.raises(ConfigError, match=r"^the data gives forcings of 2 steps, and 3 are rolled out$"):
        task.roll(batch.fields, batch.forcings, 3)


def test_metrics_by_name() -> None:
    task, batch = make_task(), make_batch()
    task.evaluate("test", task(batch).detach(), batch)
    values = task.compute_metrics("test")
    names = {"relative_l2", "rmse_u", "rmse_t_2m", "acc_u", "acc_t_2m"}
    baselines = {"relative_l2", "rmse_u", "rmse_t_2m"}
    baselines = {f"{kind}_{name}" for kind in ("persistence", "climatology") for name in baselines}
    assert set(values) == names | baselines
    rows = list(csv.DictReader(task.files["errors.csv"].splitlines()))
    assert len(rows) == 3 * 2 * 2
    of_u = [float(row["rmse"]) for row in rows if row["forecast"] == "network" and row["channel"] == "u"]
    assert values["rmse_u"] == pytest.approx(sum(of_u) / 2)
    wide = task.tables["lead_times"]
    assert [row["lead"] for row in wide] == ["6 h", "12 h"] * 2
    still = [float(row["rmse"]) for row in rows if row["forecast"] == "persistence"]
    assert [row["persistence"] for row in wide] == pytest.approx(still)
    assert rows[-1]["acc"] == ""  # a climatology has no anomaly
    spectra = list(csv.DictReader(task.files["spectra.csv"].splitlines()))
    assert len(spectra) == 2 * 2 * 4
    assert [row["wave_numbers"] for row in task.tables["wave_numbers"]] == ["1", "2-3"] * 2
    said = task.describe_evaluation()
    assert said.startswith(
        "rmse in the channels' units, weighted by the cosine of latitude, pooled over samples; means"
    )
    assert set(task.drawings("test")) == {"errors", "rollout", "spectra"}
    assert (task.better("acc_u"), task.better("rmse_u"), task.better("loss")) == ("max", "min", "min")
    task.reset_metrics("test")
    assert math.isnan(task.compute_metrics("test")["relative_l2"])


def test_a_steady_problem_has_one_step_and_no_persistence() -> None:
    spec = make_spec(**STEADY)
    task, batch = make_task(spec), make_batch(spec, steps=1)
    task.evaluate("val", task(batch).detach(), batch)
    assert not any(name.startswith("persistence") for name in task.compute_metrics("val"))
    task.rollout_steps = 5
    ids, found = task.predict_step(batch, 0)
    assert (ids.tolist(), len(found), found[0].fields.shape) == ([0, 1, 2], 3, (1, 2, 4, 6))
    for learning in ({"steps": 2}, {"predicts": "change"}):
        with pytest.raises(ConfigError, match=r"^the data maps k to u, t 2m once: there is no next step; take model"):
            make_task(spec, learning)


def test_a_rollout_that_diverges_is_said_with_its_step() -> None:
    """A factor of 1e20 in each step: the third step is beyond float32."""
    task, batch = make_task(factor=1e20), make_batch(steps=3)
    task.evaluate("test", task(batch).detach(), batch)
    values = task.compute_metrics("test")
    assert math.isnan(values["relative_l2"])
    assert "3 of 3 forecasts are not finite, the first from step 2 on" in task.describe_evaluation()
    assert [row["not_finite"] for row in task.tables["lead_times"]] == [0, 3, 3] * 2
    assert not math.isnan(values["persistence_relative_l2"])
    assert set(task.drawings("test")) == {"errors", "rollout", "spectra"}


def test_predictions_are_in_units() -> None:
    task, batch = make_task(), make_batch()
    task.rollout_steps = 4
    _, found = task.predict_step(replace(batch, valid=torch.tensor([True, False, True])), 0)
    state = batch.fields
    for step in range(4):
        state = task.net(state)
        torch.testing.assert_close(found[1].fields[step, 1], state[2, 1].detach() * 10 + 280)
    assert (len(found), len(found[0]), found[0].channels, found[0].step) == (2, 4, ("u", "t 2m"), 6.0)


def test_predict_in_memory_is_predict_step() -> None:
    task, batch = make_task(), make_batch()
    task.rollout_steps = 3
    _, wanted = task.predict_step(batch, 0)
    states = task.in_units(batch.fields)
    found = task.predict(states, batch_size=2, steps=3)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.fields, other.fields, rtol=1e-5, atol=1e-4)
    assert task.predict(states[0].numpy()).fields.shape == (1, 2, 4, 6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            torch.zeros(4, 6),
            "the fields' shape is (4, 6), and the network reads (2, height, width), or several of them, w",
        ),
        (
            torch.zeros(3, 4, 6),
            "the fields' shape is (3, 4, 6), and the network reads (2, height, width), or several of",
        ),
        (torch.full((2, 4, 6), torch.nan), "the fields have values that are not finite"),
        ("clouds", "the fields: a str is no array of numbers"),
    ],
)
def test_fields_that_cannot_be_used(given: Any, said: str) -> None:
    with pytest.raises(DataError, match="^" + re.escape(said)):
        make_task().predict(given)


def test_forcings_in_memory() -> None:
    spec = make_spec(forcings=("orography",), input_shape=(3, 4, 6))
    task, batch = make_task(spec), make_batch(spec)
    states = task.in_units(batch.fields)
    found = task.predict(states, steps=2, forcings=batch.forcings)
    torch.testing.assert_close(found[2].fields, task.in_units(task(batch))[2].detach(), rtol=1e-5, atol=1e-4)
    with pytest.raises(DataError, match=r"^the network also reads orography: give forcings=\(3, steps, 1, 4, 6\)$"):
        task.predict(states)
    with pytest.raises(DataError, match=r"^the forcings' shape is \(3, 2, 2, 4, 6\), and for these fields it is "):
        task.predict(states, forcings=torch.zeros(3, 2, 2, 4, 6))


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^the network gives \(3, 1, 4, 6\) for fields \(3, 2, 4, 6\), and an oper"):
        make_task(missing=1)(make_batch())
    with pytest.raises(ConfigError, match=r"^model\.learning\.steps=3: the loss needs the truth after each step, and"):
        make_task(learning={"steps": 3}).terms(make_batch())
    with pytest.raises(ConfigError, match=r"^model\.learning\.loss=huber: "):
        make_task(learning={"loss": "huber"})
