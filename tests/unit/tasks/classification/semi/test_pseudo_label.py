"""Pseudo-labels, as the authors of MixMatch train the baseline."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from lab.tasks.classification.data.moves import move_images
from lab.training.terms import divided
from tests.unit.tasks.classification.semi.test_mixmatch import float64, make_batch, make_task  # noqa: F401


@pytest.mark.parametrize("threshold", [0.0, 0.35, 1.0])
def test_a_step(threshold: float) -> None:
    """Cross-entropy with the found class above the threshold, as a mean over all; statistics of the labelled only."""
    task = make_task({"method": "pseudo_label", "threshold": threshold, "lambda_u": 2.0, "ramp_steps": 8})
    batch, net, kept = make_batch(), copy.deepcopy(task.net), copy.deepcopy(task.net)
    assert batch.unlabelled is not None
    x = task.normalized(move_images(batch.images, batch.moves)).double()
    kept(x)
    expected_x = F.cross_entropy(net(x), batch.targets.labels)
    moves = batch.unlabelled.moves
    views = torch.cat([move_images(batch.unlabelled.images, moves[:, view]) for view in range(2)])
    logits = net(task.normalized(views).double())
    sure = logits.softmax(1).max(1).values > threshold
    expected_u = (F.cross_entropy(logits, logits.argmax(1), reduction="none") * sure).mean()
    _, terms = task.terms(batch)
    found = divided(terms, task.totals(batch))
    torch.testing.assert_close(found["loss_x"], expected_x)
    torch.testing.assert_close(found["loss_u"], 2 * 0.5 * expected_u)
    for one, other in zip(task.net.buffers(), kept.buffers(), strict=True):
        torch.testing.assert_close(one, other)
    used = divided(task.figures, task.totals(batch))["guesses_used"]
    assert float(used) == pytest.approx(float(sure.double().mean()))
    if threshold == 0.35:
        assert 0 < float(used) < 1
