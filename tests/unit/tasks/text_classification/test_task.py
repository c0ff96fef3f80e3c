"""A text classifier's loss and predictions, against torch and numbers by hand; what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lab.errors import ConfigError, DataError
from lab.structures.text_classification import TextClassificationBatch, TextClassificationTargets
from lab.tasks.text_classification.data.encoding import batch_of, encoding_of
from lab.tasks.text_classification.task import mean_over_windows
from tests.unit.tasks.text_classification.makers import make_spec, make_task

TEXTS = ["abc", "a", "hgfedcba hgfedcba", "bb"]
LABELS = torch.tensor([0, 2, 1, 1])


def make_batch(stride: int = 0, texts: list[str] = TEXTS) -> TextClassificationBatch:
    batch = batch_of(encoding_of(make_spec(window_stride=stride)), texts)
    return replace(batch, targets=TextClassificationTargets(LABELS[: len(texts)]))


def test_the_loss_is_the_cross_entropy_over_texts() -> None:
    task, batch = make_task(), make_batch()
    logits, terms = task.terms(batch)
    assert batch.input_ids.shape == (4, 8)
    torch.testing.assert_close(terms["loss_ce"].sum, F.cross_entropy(logits, LABELS, reduction="sum"))
    assert dict(task.totals(batch)) == {"texts": 4.0}
    assert task.dry_run(batch) == "tokens (4, 8) -> logits (4, 3)"


def test_smoothing_and_balanced_weights_are_of_training_alone() -> None:
    """Of 4, 2 and 2 texts the weights are 8/(3*4) and 8/(3*2)."""
    task, batch = make_task(learning={"label_smoothing": 0.1, "class_weights": "balanced"}), make_batch()
    logits, terms = task.train().terms(batch)
    weights = torch.tensor([2 / 3, 4 / 3, 4 / 3])
    expected = F.cross_entropy(logits, LABELS, weights, label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(terms["loss_ce"].sum, expected)
    plain = F.cross_entropy(logits, LABELS, reduction="sum")
    torch.testing.assert_close(task.eval().terms(batch)[1]["loss_ce"].sum, plain)


def test_windows_of_a_text_count_once() -> None:
    """17 characters in windows of 6 that start 4 apart are four: 0-6, 4-10, 8-14, 12-17; their logits are averaged."""
    task, batch = make_task(), make_batch(stride=4)
    assert batch.windows == (1, 1, 4, 1)
    assert (batch.num_samples, len(batch.input_ids), batch.num_tokens) == (4, 7, 5 + 3 + 8 + 8 + 8 + 7 + 4)
    logits = task(batch)
    long = TEXTS[2]
    alone = task(make_batch(texts=[long[0:6], long[4:10], long[8:14], long[12:]]))
    torch.testing.assert_close(logits[2], alone.mean(0))
    torch.testing.assert_close(logits[:2], task(make_batch(texts=TEXTS[:2])))
    assert dict(task.totals(batch)) == {"texts": 4.0}
    part = batch.rows(slice(1, 3))
    torch.testing.assert_close(task(part), logits[1:3])
    assert (part.windows, part.num_samples) == ((1, 4), 2)


def test_the_mean_over_windows_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, 6.0], [0.0, 1.0]])
    assert mean_over_windows(logits, (2, 1)).tolist() == [[2.0, 4.0], [0.0, 1.0]]
    assert mean_over_windows(logits, ()) is logits


def test_metrics_leave_padding_out() -> None:
    task, batch = make_task(), make_batch()
    logits = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [9.0, 0.0, 0.0]])
    task.evaluate("test", logits, replace(batch, valid=torch.tensor([True, True, True, False])))
    values = task.compute_metrics("test")
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert task.classes_measured("test") == {"macro_f1": 3}
    assert task.tables["classes"][2] == {"class": "c", "texts": 1, "accuracy": 0.0, "precision": 0.0, "f1": 0.0}
    assert task.tables["confusion"][2] == {"true / predicted": "c", "a": 1, "b": 0, "c": 0}


def test_predict_texts() -> None:
    task = make_task(top_k=2)
    found = task.predict(TEXTS, batch_size=3)
    one = task.predict("abc")
    assert one.names == found[0].names
    assert len(found) == 4
    assert len(one) == 2
    logits = task.eval()(make_batch())
    assert float(one.scores[0]) == pytest.approx(float(logits[0].detach().softmax(0).max()), abs=1e-6)
    with pytest.raises(DataError, match=r"^input 1 is a tuple, and the network was trained on a text$"):
        task.predict(["a", ("a", "b")])


def test_predict_pairs() -> None:
    task = make_task(make_spec(pairs=True))
    (found,) = task.predict([("ab", "cd")])
    assert math.isclose(float(found.scores.sum()), 1, abs_tol=1e-6)
    with pytest.raises(DataError, match=r"^input 0 is a str, and the network was trained on a pair of texts, \(first"):
        task.predict("abcd")


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^eval\.monitor=f1 is of two classes, here are 3; take macro_f1$"):
        make_task(monitor="f1")
    with pytest.raises(ConfigError, match=r"^model\.learning\.class_weights has 2 numbers for 3 classes"):
        make_task(learning={"class_weights": [1.0, 2.0]})
    with pytest.raises(ConfigError, match=r"^MeanOfTokens gives \(4, 2\) for 4 sequences, and a text classif"):
        make_task(classes_missing=1)(make_batch())
    assert make_task(monitor="loss").monitor_mode == "min"
