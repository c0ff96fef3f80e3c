"""The task with a tiny network: what it learns from, how it is measured, what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lab.errors import ConfigError
from lab.training.terms import divided
from tests.unit.tasks.language_modeling.makers import causal_batch, make_task, masked_batch

BATCHES: dict[str, Any] = {"causal": causal_batch, "masked": masked_batch}


@pytest.mark.parametrize("objective", BATCHES)
def test_the_loss_and_the_metrics_are_those_of_the_parts_of_a_batch(objective: str) -> None:
    """Parts as ranks have them, one of them padded by a sequence that must not count."""
    task, make = make_task(objective), BATCHES[objective]
    whole = make([0, 1, 2, 3, 4])
    outputs, terms = task.terms(whole)
    expected = divided(terms, task.totals(whole))
    task.evaluate("test", outputs, whole)
    figures = task.compute_metrics("test")
    assert figures["loss"] == pytest.approx(sum(float(value.detach()) for value in expected.values()), rel=1e-6)
    task.reset_metrics("test")
    sums = dict.fromkeys(terms, 0.0)
    for part, valid in ((make([0, 1, 2]), 3), (make([3, 4, 4], num_valid=2), 2)):
        task.evaluate("test", task(part), part)
        _, of_part = task.terms(part.rows(slice(0, valid)))
        sums = {name: sums[name] + of_part[name].sum.item() for name in sums}
    assert sums == pytest.approx({name: term.sum.item() for name, term in terms.items()}, rel=1e-6)
    assert task.compute_metrics("test") == pytest.approx(figures, rel=1e-6)


def test_names_and_directions() -> None:
    task, batch = make_task(), causal_batch([1, 2])
    batch.targets.text_per_label = (4.0, 0.0)
    task.evaluate("val", task(batch), batch)
    assert set(task.compute_metrics("val")) == {"perplexity", "accuracy", "bits_per_byte"}
    assert (task.monitor, task.monitor_mode) == ("val/loss", "min")
    assert [task.better(f"test/{name}") for name in ("perplexity", "bits_per_byte", "accuracy")] == [
        "min",
        "min",
        "max",
    ]
    masked = make_task("masked")
    assert (masked.better("masked_accuracy"), masked.better("masked_perplexity")) == ("max", "min")
    assert masked.better("next_sentence_accuracy") == "max"


def test_a_step_of_training_lowers_the_loss() -> None:
    task, batch = make_task().train(), causal_batch([0, 1, 2, 3])
    optimizer = torch.optim.SGD(task.net.parameters(), lr=0.3)
    losses = []
    for _ in range(8):
        outputs, terms = task.terms(batch)
        assert outputs.scores.correct is None
        loss = divided(terms, task.totals(batch))["loss_ce"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert math.isfinite(losses[-1])


@pytest.mark.parametrize("objective", BATCHES)
def test_what_check_says(objective: str) -> None:
    said = make_task(objective).dry_run(BATCHES[objective]([0, 1, 2]))
    assert (
        said
        == {
            "causal": "tokens (3, 5), 9 to predict -> loss_ce",
            "masked": "tokens (3, 5), 4 to predict -> loss_mlm, loss_nsp",
        }[objective]
    )


def test_a_network_of_another_objective_or_length_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"TinyLanguageModel is a masked model, and the samples of this data are for"):
        make_task("causal", objective="masked")
    with pytest.raises(ConfigError, match=r"^data\.max_length=8: .* has positions for 6 tokens$"):
        make_task(max_length=6)


def test_a_network_without_scores_is_named() -> None:
    task, batch = make_task(silent=True), causal_batch([0])
    with pytest.raises(RuntimeError, match="say which labels are correct in evaluation"):
        task.evaluate("val", task(batch), batch)


def test_a_network_of_another_kind_is_refused_before_it_is_made() -> None:
    with pytest.raises(ConfigError, match=r"^model\.net\._target_=resnet18 is no languagemodel: see lab\.structures"):
        make_task(_target_="resnet18", num_classes="never read")
