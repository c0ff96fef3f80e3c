"""Generated flows: the solver beside an exact solution, a derivation by hand, balances of energy and enstrophy."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lab.errors import ConfigError
from lab.tasks.operator_learning.data.navier_stokes import FlowTrajectories, NavierStokesDataModule
from lab.tasks.operator_learning.data.vorticity import Flow

TURN = 2 * math.pi


def places(points: int) -> tuple[Tensor, Tensor]:
    axis = torch.arange(points, dtype=torch.float64) / points
    return axis[:, None].expand(points, points), axis.expand(points, points)


def random_flow(flow: Flow) -> Tensor:
    """Return the spectrum of a vorticity of a dozen waves."""
    generator = torch.Generator().manual_seed(0)
    spectrum = flow.spectrum(torch.randn(flow.points, flow.points, generator=generator, dtype=torch.float64))
    return spectrum * (flow.squared < (3.5 * TURN) ** 2) * 5


def test_taylor_green_vortices_decay_as_they_should() -> None:
    """Taylor and Green (1937): w = cos(2 pi k x) cos(2 pi k y) exp(-2 nu (2 pi k)^2 t) solves the equation."""
    flow, (x, y), k = Flow(32, 0.01), places(32), 2
    vortices = (TURN * k * x).cos() * (TURN * k * y).cos()
    found = flow.fields(flow.advance(flow.spectrum(vortices), 0.5, 5))
    exact = vortices * math.exp(-2 * 0.01 * (TURN * k) ** 2 * 0.5)
    assert (found - exact).abs().max() < 1e-13  # measured 2e-16


def test_vortices_that_a_wind_carries() -> None:
    """Products count here: w = cos(2 pi x) + cos(2 pi (x + 2 y)) and its rate of change, derived by hand.

    psi = cos(2 pi x) / (2 pi)^2 + cos(2 pi (x + 2 y)) / (5 (2 pi)^2), u = psi_y, v = -psi_x.
    """
    flow, (x, y) = Flow(32, 0.0), places(32)
    first, second = TURN * x, TURN * (x + 2 * y)
    along_x, along_y = -2 * second.sin() / (5 * TURN), (first.sin() + second.sin() / 5) / TURN
    by_hand = -(along_x * -TURN * (first.sin() + second.sin()) + along_y * -2 * TURN * second.sin())
    spectrum = flow.spectrum(first.cos() + second.cos())
    for found, expected in zip(flow.velocity(spectrum), (along_x, along_y), strict=True):
        assert (found - expected).abs().max() < 1e-14
    assert (flow.fields(flow.change(spectrum)) - by_hand).abs().max() < 1e-12  # measured 6e-15


def test_what_is_lost_is_what_viscosity_takes() -> None:
    """d/dt <|u|^2>/2 = -nu <w^2> + <u.F>, and d/dt <w^2>/2 = -nu <|grad w|^2> + <w f>: by central differences."""
    flow = Flow(32, 1e-3, 0.1)
    before = random_flow(flow)
    now = flow.advance(before, 0.01, 2)
    after = flow.advance(now, 0.01, 2)

    def enstrophy(spectrum: Tensor) -> Tensor:
        return flow.fields(spectrum).square().mean() / 2

    def energy(spectrum: Tensor) -> Tensor:
        return torch.stack(flow.velocity(spectrum)).square().sum(0).mean() / 2

    vorticity, force = flow.fields(now), flow.fields(flow.force)
    stream = flow.fields(now / flow.squared.clamp(min=1.0))
    slopes = sum((flow.fields(1j * wave * now).square().mean() for wave in flow.waves), torch.zeros(()))
    losses = {
        enstrophy: -1e-3 * slopes + (vorticity * force).mean(),
        energy: -1e-3 * vorticity.square().mean() + (stream * force).mean(),
    }
    for measure, expected in losses.items():
        rate = (measure(after) - measure(before)) / 0.02
        assert float(rate) == pytest.approx(float(expected), rel=1e-4)  # measured 1e-6
    still = replace(flow, viscosity=0.0, forcing=0.0)
    later = still.advance(before, 1.0, 40)
    for measure in losses:
        assert float(measure(later)) == pytest.approx(float(measure(before)), rel=1e-5)  # measured 3e-7


def test_a_mutant_of_the_solver_is_seen() -> None:
    """Products that fold back change the energy: without the cut at two thirds the balance above does not hold."""
    flow = Flow(16, 0.0)
    whole = torch.ones_like(flow.kept)
    whole[0, 0] = 0
    start = random_flow(flow) * 3
    folded = replace(flow)
    vars(folded)["kept"] = whole
    energies = [float(torch.stack(one.velocity(one.advance(start, 1.0, 60))).square().mean()) for one in (flow, folded)]
    at_start = float(torch.stack(flow.velocity(start)).square().mean())
    assert energies[0] == pytest.approx(at_start, rel=1e-4)
    assert energies[1] != pytest.approx(at_start, rel=1e-3)


def test_a_finer_grid_and_shorter_steps_change_little() -> None:
    """The default flow is resolved: on twice the points, or with steps of half the length, it is the same."""
    data = NavierStokesDataModule(num_train=2, steps=4, eval_steps=4)
    problem = data.problem
    drawn = FlowTrajectories(problem, "train", 2, 0).block(0)
    finer = replace(problem, flow=replace(problem.flow, points=64), every=2)
    shorter = replace(problem, solver_steps=20)
    for other, bound in ((finer, 1e-3), (shorter, 1e-6)):  # measured 9e-5, 7e-7 in the worst step
        found = FlowTrajectories(other, "train", 2, 0).block(0)
        assert ((found - drawn).norm() / drawn.norm()) < bound


def test_trajectories_become_windows() -> None:
    data = NavierStokesDataModule(
        resolution=16, steps=6, num_train=3, num_val=2, num_test=2, train_steps=2, eval_steps=3, solver_steps=4
    )
    train, val = data.dataset("train"), data.dataset("val")
    assert (len(train), len(val)) == (3 * 5, 2 * 2)
    assert data.spec.num_samples == 15
    states = train.trajectories.states(1, 0, 7)
    window = train[4, 5 + 3]
    assert torch.equal(window.fields, states[3])
    assert torch.equal(window.targets, states[4:6])
    assert [val.starts[0], val.starts[1]] == [0, 3]
    assert val[0, 3].targets.shape == (3, 1, 16, 16)
    again = NavierStokesDataModule(resolution=16, steps=6, num_train=3, solver_steps=4, eval_steps=3)
    assert torch.equal(again.dataset("train").trajectories.states(1, 0, 7), states)
    assert not torch.allclose(val.trajectories.states(1, 0, 7), states)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.eval_steps=50: a trajectory has data\.steps=20 steps"):
        NavierStokesDataModule(steps=20, eval_steps=50)
    with pytest.raises(ConfigError, match=r"data\.solver_points=48: should be a multiple of data\.resolution=32"):
        NavierStokesDataModule(solver_points=48)
    data = NavierStokesDataModule(
        resolution=16, step=20.0, solver_steps=1, steps=12, num_train=1, initial_deviation=20.0
    )
    with pytest.raises(ConfigError, match=r"data\.solver_steps=1: a step of 20 is too long for this flow"):
        _ = data.spec
