"""Classification of texts and answers to questions against transformers' heads on BERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lab import create_model
from lab.models.bert.weights import to_google, to_transformers
from lab.structures.question_answering import Answerer
from lab.structures.text_classification import TextClassifier
from tests.agreement import Compared
from tests.parity.test_bert import LENGTHS, SIZES, batch, fill, worst

transformers = pytest.importorskip("transformers")

OPTIONS: dict[str, Any] = {key: SIZES[key] for key in ("embed_dim", "num_layers", "num_heads", "feedforward_dim")}
CONFIG = {
    "vocab_size": SIZES["vocab_size"],
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
}
TOLERANCE = 1e-5
"""Worst measured: logits 1e-7, gradients 5.6e-7, relative to the largest value."""


PEER = Compared("text_heads", "transformers")


def make(name: str, **arguments: Any) -> Any:
    sizes = {"vocab_size": SIZES["vocab_size"], "max_length": 24, "encoder": "bert_tiny", "encoder_options": OPTIONS}
    return create_model(name, **{**sizes, **arguments}).eval()


def saved(net: nn.Module, path: Path) -> Path:
    torch.save(net.state_dict(), path)
    return path


def test_a_classifier_is_transformers(tmp_path: Path) -> None:
    theirs = transformers.BertForSequenceClassification(transformers.BertConfig(**CONFIG, num_labels=3)).eval()
    fill(theirs)
    ours = make("text_classifier", num_classes=3, pretrained=saved(theirs, tmp_path / "classifier.pth"))
    assert isinstance(ours, TextClassifier)
    words, mask, types = batch()
    labels = torch.tensor([0, 2, 1, 1, 0])
    logits = ours(words, mask, types, num_tokens=sum(LENGTHS))
    peer = theirs(words, mask.long(), types, labels=labels)
    assert PEER.agrees("logits", worst(logits, peer.logits), TOLERANCE, "text_classifier")
    nn.functional.cross_entropy(logits, labels).backward()
    peer.loss.backward()
    gradient = theirs.bert.embeddings.word_embeddings.weight.grad
    apart = worst(ours.encoder.embeddings.words.weight.grad, gradient)
    assert PEER.agrees("gradients of words", apart, TOLERANCE, "text_classifier")
    assert all(parameter.grad is not None for parameter in ours.parameters())  # DDP waits for each


def test_an_answerer_is_transformers(tmp_path: Path) -> None:
    theirs = transformers.BertForQuestionAnswering(transformers.BertConfig(**CONFIG)).eval()
    fill(theirs)
    ours = make("span_answerer", pretrained=saved(theirs, tmp_path / "answerer.pth"))
    assert isinstance(ours, Answerer)
    words, mask, types = batch()
    found, peer = ours(words, mask, types), theirs(words, mask.long(), types)
    starts, ends = worst(found.starts[mask], peer.start_logits[mask]), worst(found.ends[mask], peer.end_logits[mask])
    assert PEER.agrees("logits", max(starts, ends), TOLERANCE, "span_answerer")
    assert found.starts.isfinite().all()
    found.starts.sum().backward()
    found = ours(words, mask, types)
    (found.starts.sum() + found.ends.sum()).backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())


def test_heads_of_googles_fine_tuning_load(tmp_path: Path) -> None:
    """run_classifier.py and run_squad.py call their last layer so; neither matrix is turned."""
    variables = to_google(create_model("bert_tiny", **SIZES, heads=False).state_dict())
    weight, bias = torch.randn(2, 32), torch.randn(2)
    for name, prefix, head in (("text_classifier", "", "classifier"), ("span_answerer", "cls/squad/", "spans")):
        torch.save(
            {**variables, f"{prefix}output_weights": weight, f"{prefix}output_bias": bias}, tmp_path / "bert.pth"
        )
        ours = make(name, pretrained=tmp_path / "bert.pth")
        assert torch.equal(ours.get_parameter(f"{head}.weight"), weight)
        assert torch.equal(ours.get_parameter(f"{head}.bias"), bias)


@pytest.mark.parametrize("layout", ["lab", "transformers"])
def test_weights_of_pretraining_give_the_encoder_and_the_head_is_new(
    layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = create_model("bert_tiny", **SIZES)
    state = whole.state_dict() if layout == "lab" else to_transformers(whole.state_dict())
    if layout == "lab":  # a checkpoint's keys begin with the task's name for the network
        state = {f"net.{key}": value for key, value in state.items()}
    torch.save(state, tmp_path / "bert.pth")
    for name, head in (("text_classifier", "classifier."), ("span_answerer", "spans.")):
        caplog.clear()
        with caplog.at_level("INFO"):
            ours = make(name, pretrained=tmp_path / "bert.pth")
        assert f"{head}* is new" in caplog.text
        assert "hidden words (mlm.*) is left out" in caplog.text
        mine = ours.encoder.state_dict()
        assert all(torch.equal(value, whole.state_dict()[key]) for key, value in mine.items())
