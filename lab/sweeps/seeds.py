"""Points over several seeds: mean, deviation, and whether the best one differs from each other by more than chance.

The test is Student's paired t-test ("The probable error of a mean", 1908) on the differences of two points with the
same seed. Wilcoxon's signed-rank test, which Demsar ("Statistical comparisons of classifiers over multiple data sets",
2006, section 3.1.3) prefers for many data sets, cannot fall below 2 / 2^n: with 5 seeds p is 0.0625 at least. For few
seeds Colas et al. ("A Hitchhiker's Guide to Statistical Comparisons of Reinforcement Learning Algorithms", 2019) find
the errors of t-tests close to their nominal level. Runs with different seeds on the same data are independent, other
than the folds of a cross-validation (Dietterich, 1998), for which this test would be wrong.

As each point is compared with the best, p is corrected for the number of comparisons by Holm ("A simple sequentially
rejective multiple test procedure", 1979). That the best one was chosen by the same values is not corrected for: a
difference from it looks larger than it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lab.config.words import parse_word
from lab.sweeps.ledger import JobRow


@dataclass(frozen=True)
class SeedRow:
    """A point over its seeds.

    Attributes:
        words: the overrides of its jobs, without the seed.
        values: the metric by seed, of the jobs that finished with a number.
        jobs: the numbers of its jobs.
        point: the values of the search space by key, without the seed; empty in a grid.
        p: the p-value of the paired test against the best point; None for the best one and for fewer than two pairs.
        holm: the same, corrected by Holm for the number of comparisons.
        is_best: whether it is the best point.
    """

    words: tuple[str, ...]
    values: Mapping[int, float]
    jobs: tuple[int, ...]
    point: Mapping[str, Any] = field(default_factory=dict)
    p: float | None = None
    holm: float | None = None
    is_best: bool = False

    @property
    def mean(self) -> float | None:
        """The mean over the seeds; None without a value."""
        return math.fsum(self.values.values()) / len(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the seeds (divided by their number less one); None for fewer than two."""
        if len(self.values) < 2 or self.mean is None:
            return None
        return math.sqrt(math.fsum((value - self.mean) ** 2 for value in self.values.values()) / (len(self.values) - 1))


def seed_table(rows: Sequence[JobRow], metric: str, lower: bool) -> list[SeedRow]:
    """Return the points of some jobs, best first; those that lack a seed's value come after the complete ones.

    Args:
        rows: the jobs; each has a word ``seed=...``.
        metric: the metric that is compared.
        lower: whether a lower value is better.
    """
    points: dict[tuple[str, ...], SeedRow] = {}
    for job in sorted(rows, key=lambda job: job.number):
        words = tuple(word for word in job.words if parse_word(word).key != "seed")
        point = {key: value for key, value in job.point.items() if key != "seed"}
        found = points.get(words, SeedRow(words, {}, (), point))
        seed = next((parse_word(word).value for word in reversed(job.words) if parse_word(word).key == "seed"), None)
        value = job.result.get(metric) if job.state == "finished" else None
        values = dict(found.values)
        if value is not None and math.isfinite(value) and isinstance(seed, int):
            values[seed] = float(value)
        points[words] = replace(found, values=values, jobs=(*found.jobs, job.number))
    most = max((len(row.values) for row in points.values()), default=0)

    def order(row: SeedRow) -> tuple[bool, bool, float]:
        mean = row.mean
        return len(row.values) < most, mean is None, 0.0 if mean is None else mean if lower else -mean

    ordered = sorted(points.values(), key=order)
    return compared(ordered) if most else ordered


def compared(rows: Sequence[SeedRow]) -> list[SeedRow]:
    """Return rows with the tests of each against the first, the best one."""
    best, *others = rows
    tested = [paired_t_test(best.values, row.values) for row in others]
    corrected = iter(holm([p for p in tested if p is not None]))
    return [
        replace(best, is_best=True),
        *(row if p is None else replace(row, p=p, holm=next(corrected)) for row, p in zip(others, tested, strict=True)),
    ]


def paired_t_test(one: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """Return the two-sided p-value of the mean difference over the seeds that both have.

    Returns:
        None for fewer than two pairs. 1 if all pairs are equal, and 0 if all differ by the same amount.
    """
    from scipy.stats import t

    differences = [one[seed] - other[seed] for seed in one if seed in other]
    count = len(differences)
    if count < 2:
        return None
    mean = math.fsum(differences) / count
    variance = math.fsum((difference - mean) ** 2 for difference in differences) / (count - 1)
    if variance == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * t.sf(abs(mean) / math.sqrt(variance / count), count - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's procedure, in the same order.

    The i-th smallest of m is multiplied by m - i + 1; none may be smaller than one before it, nor above 1.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected
