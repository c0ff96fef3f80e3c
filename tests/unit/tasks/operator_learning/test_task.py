"""An operator's loss, rollout and predictions, against numbers by hand; what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from lab.errors import ConfigError
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
    rows = task.tables["errors"]
    assert len(rows) == 3 * 2 * 2
    of_u = [row["rmse"] for row in rows if row["forecast"] == "network" and row["channel"] == "u"]
    assert values["rmse_u"] == pytest.approx(sum(of_u) / 2)
    assert [row["lead"] for row in rows[:2]] == [6.0, 12.0]
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


def test_predictions_are_in_units() -> None:
    task, batch = make_task(), make_batch()
    task.rollout_steps = 4
    _, found = task.predict_step(replace(batch, valid=torch.tensor([True, False, True])), 0)
    state = batch.fields
    for step in range(4):
        state = task.net(state)
        torch.testing.assert_close(found[1].fields[step, 1], state[2, 1].detach() * 10 + 280)
    assert (len(found), len(found[0]), found[0].channels, found[0].step) == (2, 4, ("u", "t 2m"), 6.0)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^the network gives \(3, 1, 4, 6\) for fields \(3, 2, 4, 6\), and an oper"):
        make_task(missing=1)(make_batch())
    with pytest.raises(ConfigError, match=r"^model\.learning\.steps=3: the loss needs the truth after each step, and"):
        make_task(learning={"steps": 3}).terms(make_batch())
    with pytest.raises(ConfigError, match=r"^model\.learning\.loss=huber: "):
        make_task(learning={"loss": "huber"})
