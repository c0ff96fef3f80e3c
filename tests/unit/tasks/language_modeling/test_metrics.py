"""What language models are measured by, against torchmetrics and numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.text import Perplexity

from lab.structures.language_modeling import LanguageScores
from lab.tasks.language_modeling.metrics import LanguageMetrics, exp


def test_causal_figures_are_torchmetrics_and_a_padding_sequence_does_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 6, 9, generator=generator)
    labels = torch.randint(0, 9, (5, 6), generator=generator)
    lengths = (6, 3, 1, 4, 2)
    labels[torch.arange(6) >= torch.tensor(lengths)[:, None]] = -1
    metrics = LanguageMetrics("causal")
    for rows in (slice(0, 2), slice(2, 5)):
        of_rows, there = labels[rows], labels[rows] >= 0
        losses = torch.nn.functional.cross_entropy(logits[rows][there], of_rows[there], reduction="none")
        scores = LanguageScores(losses, logits[rows][there].argmax(1) == of_rows[there])
        metrics.update(scores, lengths[rows], torch.tensor([True, True, True, True, False])[rows], (2.0, 0.5))
    reference = Perplexity(ignore_index=-1)
    reference.update(logits[:4], labels[:4])
    found = metrics.compute()
    assert found["perplexity"] == pytest.approx(float(reference.compute()), rel=1e-5)  # worst 2e-7
    right = (logits.argmax(2) == labels)[:4]
    assert found["accuracy"] == pytest.approx(int(right.sum()) / 14, abs=1e-12)
    assert found["loss"] == pytest.approx(math.log(found["perplexity"]))
    assert found["bits_per_byte"] == pytest.approx(math.log2(found["perplexity"]) / 2)
    assert found["word_perplexity"] == pytest.approx(found["perplexity"] ** 2)


def test_masked_figures_by_hand() -> None:
    """Sequences of 2, 1 and 2 labels, of which the last one only pads: (1 + 2 + 4) / 3 nats, 2 of 3 are right."""
    scores = LanguageScores(
        torch.tensor([1.0, 2.0, 4.0, 50.0, 60.0]),
        torch.tensor([True, True, False, True, True]),
        torch.tensor([0.5, 1.5, 9.0]),
        torch.tensor([True, False, True]),
    )
    metrics = LanguageMetrics("masked")
    metrics.update(scores, (2, 1, 2), torch.tensor([True, True, False]))
    assert metrics.compute() == pytest.approx(
        {
            "loss": 7 / 3 + 1,
            "masked_loss": 7 / 3,
            "masked_perplexity": math.exp(7 / 3),
            "masked_accuracy": 2 / 3,
            "next_sentence_accuracy": 0.5,
        }
    )
    metrics.reset()
    scores.next_sentence_losses = scores.next_sentence_correct = None
    metrics.update(scores, (2, 1, 2), torch.tensor([True, True, True]))
    assert metrics.compute()["loss"] == metrics.compute()["masked_loss"] == pytest.approx(117 / 5)
    assert "next_sentence_accuracy" not in metrics.compute()


def test_what_nothing_defines_is_nan_and_what_is_too_large_infinite() -> None:
    metrics = LanguageMetrics("causal")
    metrics.update(LanguageScores(torch.ones(2), torch.ones(2, dtype=torch.bool)), (2,), torch.tensor([False]))
    values = metrics.compute()
    assert set(values) == {"loss", "perplexity", "accuracy"}
    assert all(map(math.isnan, values.values()))
    assert (exp(710.0), exp(0.0)) == (math.inf, 1.0)


def test_a_network_that_does_not_say_what_is_correct_is_named() -> None:
    with pytest.raises(RuntimeError, match="say which labels are correct"):
        LanguageMetrics("causal").update(LanguageScores(torch.ones(1)), (1,), torch.tensor([True]))
