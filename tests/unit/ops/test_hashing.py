"""SplitMix64 against its published outputs; draws that hang on nothing but their counters."""

from __future__ import annotations

import numpy as np
from scipy.stats import chisquare

from lab.ops.hashing import mix, uniform


def test_known_outputs() -> None:
    """The first outputs of splitmix64.c from the state 1234567, as Rosetta Code lists them."""
    states = np.uint64(1234567) + np.arange(1, 6, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert mix(states).tolist() == expected


def test_function_of_the_counters_alone() -> None:
    """A number does not depend on what else is drawn beside it, and changes with the seed and each counter."""
    rows, positions = np.repeat(np.arange(50), 20), np.tile(np.arange(20), 50)
    whole = uniform(3, 1, rows, positions, 4)
    assert (uniform(3, 1, rows[345:346], positions[345:346], 2) == whole[345, :2]).all()
    others = [
        uniform(4, 1, rows, positions, 4),
        uniform(3, 2, rows, positions, 4),
        uniform(3, 1, rows + 50, positions, 4),
        uniform(3, 1, rows, positions + 20, 4),
    ]
    assert not any((other == whole).any() for other in others)


def test_uniform() -> None:
    """100 000 numbers in 64 bins."""
    values = uniform(0, 0, np.repeat(np.arange(100), 100), np.tile(np.arange(100), 100), 10)
    assert chisquare(np.histogram(values, 64, (0, 1))[0]).pvalue > 1e-4
