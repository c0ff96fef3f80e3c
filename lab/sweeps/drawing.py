"""Which point of a search space comes next, as far as results do not matter: at random, by Sobol's sequence, in order.

The point of a trial follows from a seed and the trial's number; only where an earlier trial has the same point, which
would be the same run, another is taken.

Quasi-random points are those of Sobol, "On the distribution of points in a cube and the approximate evaluation of
integrals" (1967), scrambled as by Owen (1998), from scipy.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Protocol

from lab.sweeps.objective import Objective
from lab.sweeps.space import Scalar, SearchSpace, identity
from lab.sweeps.trials import Trial

_TRIES = 1000


class Sampler(Protocol):
    """Proposes the points of a search."""

    notes: dict[str, str]
    """What it has to say, each once."""

    def point(self, number: int, trials: Sequence[Trial], objectives: Sequence[Objective]) -> dict[str, Scalar] | None:
        """Return the point of a trial; None if every point of the space has its trial.

        Args:
            number: of the trial, from 0 on.
            trials: the trials before it.
            objectives: empty as long as they are not known, which is before the first result.
        """


class RandomDraws:
    """Independent draws: each trial has its own generator."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space, self.seed = space, seed
        self.notes: dict[str, str] = {}

    def point(
        self, number: int, trials: Sequence[Trial], objectives: Sequence[Objective] = ()
    ) -> dict[str, Scalar] | None:
        """Return the first draw of the trial's generator that no earlier trial has."""
        return first_new(self.space, self.draws(number), trials)

    def draws(self, number: int) -> Iterator[dict[str, Scalar]]:
        """Yield the draws of a trial's generator, without end."""
        import numpy as np

        generator = np.random.default_rng([self.seed, number])
        while True:
            yield self.space.at(generator.random(len(self.space.dimensions)).tolist())


class SobolDraws:
    """A sequence that covers the space more evenly than independent draws."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space, self.seed = space, seed
        self.notes: dict[str, str] = {}

    def point(
        self, number: int, trials: Sequence[Trial], objectives: Sequence[Objective] = ()
    ) -> dict[str, Scalar] | None:
        """Return the point of this place in the sequence, or a random one if an earlier trial has it."""
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(self.space.dimensions), scramble=True, seed=self.seed)
        if number:
            sequence.fast_forward(number)
        (units,) = sequence.random(1).tolist()
        draws = itertools.chain([self.space.at(units)], RandomDraws(self.space, self.seed).draws(number))
        return first_new(self.space, draws, trials)


class GridDraws:
    """Every point of a space without intervals of floats, in order."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.notes: dict[str, str] = {}

    def point(
        self, number: int, trials: Sequence[Trial], objectives: Sequence[Objective] = ()
    ) -> dict[str, Scalar] | None:
        """Return the first point that has no trial."""
        return next(without(self.space.points(), trials), None)


def first_new(
    space: SearchSpace, draws: Iterator[dict[str, Scalar]], trials: Sequence[Trial]
) -> dict[str, Scalar] | None:
    """Return the first of some draws that no trial has; after many in vain any point that is left."""
    new = next(without(itertools.islice(draws, _TRIES), trials), None)
    if new is None and space.count is not None:
        return next(without(space.points(), trials), None)
    return new


def without(points: Iterator[dict[str, Scalar]], trials: Sequence[Trial]) -> Iterator[dict[str, Scalar]]:
    """Leave out the points that have a trial."""
    taken = {identity(trial.point) for trial in trials}
    return (point for point in points if identity(point) not in taken)
