"""The best trials of a search, in words: the best one, or with several objectives those that none surpasses."""

from __future__ import annotations

from collections.abc import Sequence

from lab.sweeps.objective import Objective
from lab.sweeps.trials import Trial
from lab.text import printable


def best_trials(trials: Sequence[Trial], objectives: Sequence[Objective], first_is_default: bool) -> list[str]:
    """Return lines for the best trials, and what they gain over the first one, if that has the config's own values."""
    valued = [(trial, values) for trial in trials if (values := trial.values(objectives)) is not None]
    if not valued:
        return []
    if len(objectives) > 1:
        front = pareto_front([values for _, values in valued], objectives)
        return [
            f"front     {_name(trial)}: {_values(values, objectives)}"
            for (trial, values), on in zip(valued, front, strict=True)
            if on
        ]
    (objective,) = objectives
    best, (value,) = min(valued, key=lambda item: _signed(item[1], objectives)[0])
    lines = [f"best      {_name(best)}: {printable(objective.words(value))}"]
    if first_is_default and valued[0][0].number == 0:
        (own,) = valued[0][1]
        better = "no point is better" if best.number == 0 else f"the best is better by {abs(value - own):.4g}"
        lines.append(f"default   {_name(valued[0][0])}: {printable(objective.metric)} {own:.4f}; {better}")
    return lines


def pareto_front(values: Sequence[Sequence[float]], objectives: Sequence[Objective]) -> list[bool]:
    """Return for each point whether no other is at least as good in all objectives and better in one."""
    costs = [_signed(each, objectives) for each in values]
    return [
        not any(other != cost and all(a <= b for a, b in zip(other, cost, strict=True)) for other in costs)
        for cost in costs
    ]


def _signed(values: Sequence[float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return values such that lower is better."""
    return tuple(
        value if objective.direction == "min" else -value for value, objective in zip(values, objectives, strict=True)
    )


def _values(values: Sequence[float], objectives: Sequence[Objective]) -> str:
    return ", ".join(printable(objective.words(value)) for value, objective in zip(values, objectives, strict=True))


def _name(trial: Trial) -> str:
    numbers = [job.number for job in trial.jobs]
    jobs = f"job {numbers[0]}" if len(numbers) == 1 else f"jobs {numbers[0]}-{numbers[-1]}"
    point = " ".join(f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in trial.point.items())
    return f"{jobs} ({printable(point)})"
