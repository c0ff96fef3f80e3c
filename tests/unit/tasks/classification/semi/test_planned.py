"""What the planner does on one rank alone exchanges nothing."""

from __future__ import annotations

import pytest

from lab.strategies import collectives
from tests.unit.tasks.classification.semi.test_mixmatch import make_batch, make_task


def test_outside_of_a_training_no_rank_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(*arguments: object) -> None:
        raise AssertionError("a collective")

    monkeypatch.setattr(collectives, "world_size", lambda: 2)
    monkeypatch.setattr(collectives, "gather", waits)
    task = make_task()
    task.net.float()
    assert set(task.terms(make_batch())[1]) == {"loss_x", "loss_u"}
