"""Names of the jobs of a sweep for trackers."""

from __future__ import annotations

import pytest

from lab.sweeps.display import LONGEST, display_name

SHARED = ["data=shapes", "trainer.max_steps=10"]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (["optimizer.lr=1e-3", "seed=0"], "lr=1e-3 seed=0"),
        (["optimizer.lr=1e-3", "scheduler.lr=2"], "optimizer.lr=1e-3 scheduler.lr=2"),
        (["model.net.dim=8", "data.net.dim=9", "lr=1"], "model.net.dim=8 data.net.dim=9 lr=1"),
        (["+optimizer.momentum=0.9", "~callbacks.ema", "model=detr"], "momentum=0.9 ~ema model=detr"),
        (["seed=1", "seed=2"], "seed=2"),
        (["data.root='my images'"], "root=my images"),
        (["optimizer.betas=[0.9,0.99]"], "betas=[0.9,0.99]"),
        ([], None),
    ],
)
def test_only_what_differs_in_few_signs(own: list[str], expected: str | None) -> None:
    assert display_name([*SHARED[:1], *own, *SHARED[1:]], SHARED) == expected


def test_a_long_name_is_cut_and_a_hostile_one_is_printable() -> None:
    name = display_name([f"data.root={'a' * 300}", "seed=3"], [])
    assert name is not None
    assert len(name) <= LONGEST
    assert name.startswith("root=aaa")
    assert name.endswith("seed=3")
    assert "\x1b" not in (display_name(["data.root='\x1b[31m'"], []) or "")
