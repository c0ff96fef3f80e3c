"""Each sampler proposes points of the space, the same ones after a restart, and finds better ones than chance."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.errors import ConfigError
from lab.sweeps.drawing import GridDraws, RandomDraws, Sampler, SobolDraws
from lab.sweeps.ledger import JobRow
from lab.sweeps.objective import Objective
from lab.sweeps.optuna_sampler import OptunaSampler
from lab.sweeps.settings import SpaceEntry
from lab.sweeps.space import Scalar, SearchSpace, identity
from lab.sweeps.space_words import read_space
from lab.sweeps.states import JobState
from lab.sweeps.trials import Trial

NUMBERS = read_space(["a=interval(-2,2)", "b=tag(log,interval(1e-3,10))", "c=int(interval(0,6))"])[0]
MIXED = read_space(["a=range(0,1,0.25)", "b=tag(log,int(interval(1,64)))", "c=true,1,1.5,null,'x y'"])[0]
CONDITIONS = read_space(
    ["m=p,q", "lr=tag(log,interval(1e-4,1))"],
    {
        "n": SpaceEntry(low=1, high=9, when={"m": "p"}),
        "o": SpaceEntry(low=0.0, high=1.0, when={"n": [2, 3, 4, 5]}),
    },
)[0]
SPACES = {"numbers": NUMBERS, "mixed": MIXED, "conditions": CONDITIONS}
LOW = [Objective("val/loss", "min")]
TWO = [Objective("val/loss", "min"), Objective("test/map", "max")]


def trial(number: int, point: dict[str, Scalar], state: JobState, **result: float) -> Trial:
    metrics: dict[str, Any] = {"val/loss": result.get("loss"), "test/map": result.get("map")}
    job = JobRow(number + 1, [], "", state=state, result=metrics)
    return Trial(number, point, (job,), reports=((1, 0.5), (2, 0.25)) if state == "pruned" else ())


def cost(space: SearchSpace, point: dict[str, Scalar]) -> float:
    """Return a smooth function of a point with its minimum in the first third of each dimension."""
    total = 0.0
    for dimension in space.dimensions:
        if dimension.key in point:
            units = np.linspace(0, 0.999, 64)
            at = [dimension.at(float(unit)) for unit in units]
            value = point[dimension.key]
            if dimension.choices:
                unit = dimension.choices.index(value) / len(dimension.choices)
            else:
                unit = float(units[np.argmin([abs(float(each) - float(value)) for each in at])])  # type: ignore[arg-type]
            total += (unit - 0.3) ** 2
    return total


def play(sampler: Sampler, space: SearchSpace, count: int, objectives: list[Objective] | None = None) -> list[Trial]:
    """Return trials as a master would have them; every seventh fails, the last two still run."""
    trials: list[Trial] = []
    for number in range(count):
        point = sampler.point(number, trials[:-2] + [trial(t.number, dict(t.point), "running") for t in trials[-2:]],
                              objectives or LOW)  # fmt: skip
        assert point is not None
        assert space.holds(point), point
        state: JobState = (
            "failed" if number % 7 == 6 else "pruned" if number % 5 == 4 and not objectives else "finished"
        )
        loss = cost(space, point)
        trials.append(trial(number, point, state, loss=loss, map=float(len(point)) - loss))
    return trials


def sampler_of(name: str, space: SearchSpace, seed: int = 0) -> Sampler:
    if name == "random":
        return RandomDraws(space, seed)
    if name == "qmc":
        return SobolDraws(space, seed)
    return OptunaSampler(space, name, seed, startup=3 if name in ("gp", "tpe") else None,
                         population=4 if name in ("cmaes", "nsga2") else None)  # fmt: skip


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize(
    ("name", "count"), [("random", 30), ("qmc", 30), ("tpe", 14), ("cmaes", 14), ("nsga2", 14), ("gp", 4)]
)
def test_proposals_are_new_points_of_the_space_and_repeatable(name: str, count: int, space: SearchSpace) -> None:
    trials = play(sampler_of(name, space), space, count)
    assert len({identity(each.point) for each in trials}) == count
    # A master that has just been started, and knows nothing but the ledger, proposes the same.
    number = count - 1
    known = trials[: number - 2] + [trial(t.number, dict(t.point), "running") for t in trials[number - 2 : number]]
    assert sampler_of(name, space).point(number, known, LOW) == trials[number].point
    assert sampler_of(name, space, seed=1).point(number, known, LOW) != trials[number].point


@pytest.mark.parametrize("name", ["tpe", "nsga2", "gp"])
def test_several_objectives(name: str) -> None:
    play(sampler_of(name, NUMBERS), NUMBERS, 4 if name == "gp" else 9, TWO)


def test_before_the_first_result_nothing_is_known_of_the_objective() -> None:
    for name in ("tpe", "cmaes", "nsga2"):
        running = [trial(0, NUMBERS.at([0.5, 0.5, 0.5]), "running")]
        point = sampler_of(name, NUMBERS).point(1, running, [])
        assert point is not None
        assert NUMBERS.holds(point)


@pytest.mark.parametrize(("name", "share"), [("tpe", 0.6), ("cmaes", 0.75)])
def test_it_learns(name: str, share: float) -> None:
    """Its last 15 of 50 points are better, on average, than random ones; both directions mean the same."""
    means = []
    for sampler in (sampler_of(name, NUMBERS), RandomDraws(NUMBERS, 0)):
        trials: list[Trial] = []
        for number in range(50):
            point = sampler.point(number, trials, LOW)
            assert point is not None
            trials.append(trial(number, point, "finished", loss=cost(NUMBERS, point)))
        means.append(np.mean([cost(NUMBERS, dict(each.point)) for each in trials[-15:]]))
    assert means[0] < share * means[1]
    trials = [trial(n, NUMBERS.at([u, u, u]), "finished", loss=u, map=-u) for n, u in enumerate((0.1, 0.4, 0.7, 0.9))]
    up = sampler_of(name, NUMBERS).point(4, trials, [Objective("test/map", "max")])
    assert up == sampler_of(name, NUMBERS).point(4, trials, LOW)


def test_a_small_space_is_used_up() -> None:
    space = read_space(["a=1,2", "b=true,false"])[0]
    for sampler in (sampler_of("tpe", space), sampler_of("random", space), sampler_of("qmc", space), GridDraws(space)):
        trials: list[Trial] = []
        while (point := sampler.point(len(trials), trials, LOW)) is not None:
            trials.append(trial(len(trials), point, "finished", loss=1.0))
        assert len({identity(each.point) for each in trials}) == len(trials) == 4


def test_sobol_s_sequence_covers_evenly() -> None:
    """Of 16 points of a two-dimensional sequence each quarter of the square has 4 (Sobol's property A)."""
    space = read_space(["a=interval(0,1)", "b=interval(0,1)"])[0]
    sampler = SobolDraws(space, 3)
    points = [sampler.point(number, []) for number in range(16)]
    cells = [(point["a"] < 0.5, point["b"] < 0.5) for point in points if point is not None]  # type: ignore[operator]
    assert {cell: cells.count(cell) for cell in cells} == dict.fromkeys(
        [(True, True), (True, False), (False, True), (False, False)], 4
    )


def test_what_optuna_says_is_said_once(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    sampler = sampler_of("cmaes", CONDITIONS)
    assert list(sampler.notes.values()) == [
        "sampler=cmaes draws m at random, because it has choices",
        "sampler=cmaes draws n at random, because it has a condition",
        "sampler=cmaes draws o at random, because it has a condition",
    ]
    play(sampler, CONDITIONS, 12)
    messages = list(sampler.notes.values())
    assert len(messages) == len(set(messages)) < 8
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_optuna_is_needed_only_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "optuna":
            raise ImportError("No module named 'optuna'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert SobolDraws(NUMBERS, 0).point(0, []) is not None
    with pytest.raises(ConfigError) as refused:
        OptunaSampler(NUMBERS, "tpe", 0)
    assert str(refused.value) == ("sweeper=optuna needs Optuna (No module named 'optuna'): pip install 'lab[sweep]'")


def test_the_master_computes_nothing_with_torch(tmp_path: Path) -> None:
    """The Gaussian process is fitted in a process of its own, whose failure is an error here."""
    from lab.sweeps.aside import run_aside

    def failing() -> None:
        raise ValueError("no such thing")

    with pytest.raises(RuntimeError, match="no such thing"):
        run_aside(failing)
    assert run_aside(lambda: __import__("os").getpid()) != __import__("os").getpid()
    assert run_aside(lambda: __import__("torch").get_num_threads()) == 1
