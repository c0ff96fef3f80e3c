"""Tests over seeds against published numbers: Student's own data, Holm's procedure by hand, scipy."""

from __future__ import annotations

import pytest
from scipy import stats

from lab.sweeps.ledger import JobRow
from lab.sweeps.seeds import SeedRow, holm, paired_t_test, seed_table

# Hours of sleep that two drugs gained for ten patients, Student (1908). R's documentation of `sleep` has the test:
# t = -4.0621, df = 9, p-value = 0.002833.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_student_s_own_data() -> None:
    p = paired_t_test(by_seed(DRUG_1), by_seed(DRUG_2))
    assert p == pytest.approx(0.002833, abs=5e-7)
    assert p == pytest.approx(stats.ttest_rel(DRUG_1, DRUG_2).pvalue, rel=1e-12)  # worst seen 2e-16


def test_pairs_are_the_seeds_that_both_have() -> None:
    one, other = {0: 1.0, 1: 2.0, 2: 3.5, 9: 100.0}, {2: 3.0, 1: 1.0, 0: 0.8, 5: -7.0}
    assert paired_t_test(one, other) == pytest.approx(stats.ttest_rel([1.0, 2.0, 3.5], [0.8, 1.0, 3.0]).pvalue)
    assert paired_t_test({0: 1.0, 1: 2.0}, {1: 1.0}) is None
    assert paired_t_test({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}) == 1
    assert paired_t_test({0: 1.0, 1: 2.0}, {0: 1.5, 1: 2.5}) == 0


def test_holm_by_hand() -> None:
    """0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 are 0.02, 0.03, 0.06, 0.04, and the last may not be below 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def jobs(*points: tuple[str, list[float | str | None]]) -> list[JobRow]:
    found = []
    for word, values in points:
        for seed, value in enumerate(values):
            state = value if isinstance(value, str) else "finished"
            result = {} if isinstance(value, str) else {"val/map": value}
            words = [word, f"seed={seed}", "data=shapes"]
            found.append(JobRow(len(found) + 1, words, "", state=state, result=result))  # type: ignore[arg-type]
    return found


def test_the_table() -> None:
    table = seed_table(
        jobs(
            ("lr=1", [0.50, 0.52, 0.51, 0.55, 0.50]),
            ("lr=2", [0.60, 0.66, 0.63, 0.62, 0.64]),
            ("lr=3", [0.61, 0.64, 0.60, 0.63, 0.62]),
            ("lr=4", [0.99, None, "failed", "diverged", "waiting"]),
            ("lr=5", ["failed"] * 5),
        ),
        "val/map",
        lower=False,
    )
    assert [row.words for row in table] == [(f"lr={n}", "data=shapes") for n in (2, 3, 1, 4, 5)]
    best, second, third, lone, none = table
    assert best.is_best
    assert (best.mean, best.deviation) == (pytest.approx(0.63), pytest.approx(0.0223606797749979))
    assert best.p is None
    assert third.jobs == (1, 2, 3, 4, 5)
    p3 = stats.ttest_rel([0.60, 0.66, 0.63, 0.62, 0.64], [0.61, 0.64, 0.60, 0.63, 0.62]).pvalue
    p1 = stats.ttest_rel([0.60, 0.66, 0.63, 0.62, 0.64], [0.50, 0.52, 0.51, 0.55, 0.50]).pvalue
    assert (second.p, third.p) == (pytest.approx(p3), pytest.approx(p1))
    assert (second.holm, third.holm) == (pytest.approx(p3), pytest.approx(2 * p1))  # the smaller one counts twice
    assert (lone.values, lone.deviation, lone.p, lone.holm) == ({0: 0.99}, None, None, None)
    assert (none.mean, none.jobs) == (None, (21, 22, 23, 24, 25))


def test_lower_is_better_and_nothing_at_all() -> None:
    table = seed_table(jobs(("lr=1", [0.5, 0.6]), ("lr=2", [0.4, 0.5])), "val/map", lower=True)
    assert [row.words[0] for row in table] == ["lr=2", "lr=1"]
    assert seed_table([], "val/map", lower=True) == []
    empty = seed_table(jobs(("lr=1", ["failed"])), "val/map", lower=True)
    assert empty == [SeedRow(("lr=1", "data=shapes"), {}, (1,))]
