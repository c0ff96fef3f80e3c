"""BERT against transformers', with random norms and biases: states of every layer, logits, losses, gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import create_model
from lab.errors import CheckpointError
from lab.models.bert.network import Bert
from lab.models.bert.weights import convert, from_google, from_transformers, to_google, to_transformers
from lab.structures.language_modeling import LanguageModel, MaskedTargets
from lab.structures.text import TextEncoder
from lab.training.terms import batch_terms
from tests.agreement import Compared

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "embed_dim": 32,
    "num_layers": 3,
    "num_heads": 4,
    "feedforward_dim": 48,
    "max_length": 24,
}
LENGTHS = (20, 13, 7, 1, 11)
TOLERANCE = 1e-5
"""Worst measured: states 4.0e-7, pooled 1.3e-6, logits 4.8e-7, losses 1.0e-7, gradients 1.7e-6, relative to the largest
value. The mildest mutant, another form of GELU, differs by 2.1e-3."""


PEER = Compared("bert", "transformers")


def fill(model: nn.Module) -> None:
    """Fill parameters deterministically, large enough that a wrong detail is seen; norms far from the identity."""
    generator = torch.Generator().manual_seed(0)
    for name, value in sorted(model.named_parameters()):
        noise = torch.randn(value.shape, generator=generator)
        with torch.no_grad():
            if value.ndim > 1:
                value.copy_(noise * (0.5 if "embeddings" in name else 1.5 / value.shape[1] ** 0.5))
            else:
                value.copy_(noise * 0.3 + (1.0 if "LayerNorm" in name and name.endswith("weight") else 0.0))


def pair(activation: str = "gelu", **changes: Any) -> tuple[Bert, Any]:
    sizes = {**SIZES, **changes}
    config = transformers.BertConfig(
        vocab_size=sizes["vocab_size"],
        hidden_size=sizes["embed_dim"],
        num_hidden_layers=sizes["num_layers"],
        num_attention_heads=sizes["num_heads"],
        intermediate_size=sizes["feedforward_dim"],
        max_position_embeddings=sizes["max_length"],
        hidden_act={"gelu": "gelu", "gelu_tanh": "gelu_new"}[activation],
    )
    theirs = transformers.BertForPreTraining(config).eval()
    fill(theirs)
    ours = create_model("bert_tiny", **sizes, activation=activation).eval()
    assert isinstance(ours, Bert)
    ours.load_state_dict(convert(theirs.state_dict()))
    return ours, theirs


def batch(lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (len(lengths), max(lengths))
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    words = torch.randint(SIZES["vocab_size"], shape, generator=generator)
    return words, mask, torch.randint(2, shape, generator=generator)


def targets() -> MaskedTargets:
    """Some hidden words, none in one sequence."""
    labels = torch.tensor([5, 90, 3, 8, 44, 61])
    positions = torch.tensor([0, 19, 4, 6, 3, 10])
    return MaskedTargets(positions, labels, (2, 1, 1, 0, 2), torch.tensor([0, 1, 1, 0, 1]))


def labels_of(found: MaskedTargets, shape: torch.Size) -> Tensor:
    labels = torch.full(shape, -100)
    rows = torch.arange(len(found.counts)).repeat_interleave(torch.tensor(found.counts))
    labels[rows, found.positions] = found.labels
    return labels


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).detach().abs().max() / theirs.detach().abs().max())


def differences(ours: Bert, theirs: Any, words: Tensor, mask: Tensor | None, types: Tensor | None) -> dict[str, float]:
    """Compare everything that both compute, at tokens only, and the gradients of the loss."""
    ours.zero_grad()
    theirs.zero_grad()
    given = targets()
    peer = theirs(
        words,
        attention_mask=None if mask is None else mask.long(),
        token_type_ids=types,
        labels=labels_of(given, words.shape),
        next_sentence_label=given.next_sentence,
        output_hidden_states=True,
    )
    at = torch.ones_like(words, dtype=torch.bool) if mask is None else mask
    features = ours.encode(words, mask, types, hidden_states=True)
    outputs = ours(words, mask, types, targets=given)
    found = {
        f"state {number}": worst(mine[at], his[at])
        for number, (mine, his) in enumerate(zip(features.hidden_states, peer.hidden_states, strict=True))
    }
    found["last state"] = worst(outputs.last_hidden_state[at], peer.hidden_states[-1][at])
    found["pooled"] = worst(outputs.pooled, theirs.bert.pooler(peer.hidden_states[-1]))
    found["words"] = worst(outputs.mlm_logits[at], peer.prediction_logits[at])
    found["pairs"] = worst(outputs.nsp_logits, peer.seq_relationship_logits)
    terms = batch_terms(ours, outputs, given)
    loss = torch.stack(list(terms.values())).sum()
    found["loss"] = worst(loss, peer.loss)
    loss.backward()
    peer.loss.backward()
    gradients = {key: value.grad for key, value in theirs.named_parameters()}
    mine = {key: value.grad for key, value in ours.named_parameters()}
    for key, value in from_transformers(gradients).items():
        found[f"gradient {key}"] = worst(mine[key], value)
    return found


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
@pytest.mark.parametrize("padded", [True, False])
def test_everything_is_transformers(activation: str, padded: bool) -> None:
    words, mask, types = batch()
    found = differences(*pair(activation), words, mask if padded else None, types)
    of_gradients = [error for what, error in found.items() if what.startswith("gradient")]
    of_outputs = [error for what, error in found.items() if not what.startswith("gradient")]
    assert PEER.agrees("states, scores and loss", max(of_outputs), TOLERANCE), found
    assert PEER.agrees("gradients", max(of_gradients), TOLERANCE), found


def _swap_queries_and_keys(net: Bert) -> None:
    for block in net.blocks:
        weight = block.qkv.weight.data
        block.qkv.weight.data = torch.cat([weight[32:64], weight[:32] * 1.01, weight[64:]])


def _another_epsilon(net: Bert) -> None:
    for part in net.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = 1e-3


def _another_gelu(net: Bert) -> None:
    for block in net.blocks:
        block.gelu = "tanh"


def _other_types(net: Bert) -> None:
    net.embeddings.types.weight.data = net.embeddings.types.weight.data.flip(0)


def _places_from_one(net: Bert) -> None:
    net.embeddings.places.weight.data = net.embeddings.places.weight.data.roll(-1, 0)


def _padding_is_attended(net: Bert) -> None:
    net.forward = lambda words, mask, *rest, **more: Bert.forward(net, words, None, *rest, **more)


@pytest.mark.parametrize(
    "mutate",
    [
        _swap_queries_and_keys,
        _another_epsilon,
        _another_gelu,
        _other_types,
        _places_from_one,
        _padding_is_attended,
    ],
)
def test_mutants_are_seen(mutate: Callable[[Bert], None]) -> None:
    ours, theirs = pair()
    mutate(ours)
    assert max(differences(ours, theirs, *batch()).values()) > 100 * TOLERANCE


def _old_names(key: str) -> str:
    if "LayerNorm" in key:
        return key.replace(".weight", ".gamma").replace(".bias", ".beta")
    return key


def test_layouts_convert_both_ways() -> None:
    ours, theirs = pair()
    own = ours.state_dict()
    theirs.load_state_dict(to_transformers(own), strict=True)
    bare = {key.removeprefix("bert."): value for key, value in theirs.state_dict().items()}
    old = {_old_names(key): value for key, value in theirs.state_dict().items()}
    old["bert.embeddings.position_ids"] = torch.arange(24)[None]
    del old["cls.predictions.decoder.bias"]
    slots = {f"{key}/adam_m": value for key, value in to_google(own).items()} | {"global_step": torch.tensor(3)}
    for layout in (theirs.state_dict(), bare, old, to_google(own), to_google(own) | slots, own):
        found = convert(layout)
        assert found.keys() == own.keys()
        assert all(torch.equal(found[key], value) for key, value in own.items())
    assert from_google(to_google(own)).keys() == own.keys()


def test_names_of_googles_variables() -> None:
    own = create_model("bert_tiny", **SIZES).state_dict()
    found = to_google(own)
    kernel = found["bert/encoder/layer_2/intermediate/dense/kernel"]
    assert kernel.shape == (32, 48)
    assert torch.equal(kernel.t(), own["blocks.2.fc1.weight"])
    assert found["cls/seq_relationship/output_weights"].shape == (2, 32)
    query = found["bert/encoder/layer_0/attention/self/query/kernel"]
    assert torch.equal(query.t(), own["blocks.0.qkv.weight"][:32])
    assert {"bert/embeddings/LayerNorm/gamma", "cls/predictions/output_bias", "bert/pooler/dense/bias"} <= found.keys()


def test_another_last_matrix_is_refused() -> None:
    state = dict(pair()[1].state_dict())
    state["cls.predictions.decoder.weight"] = state["cls.predictions.decoder.weight"] + 1
    with pytest.raises(CheckpointError, match="another matrix than the embeddings"):
        convert(state)


@pytest.mark.parametrize(
    ("kind", "new"),
    [("BertModel", {"mlm.", "nsp."}), ("BertForMaskedLM", {"nsp.", "pooler."}), ("BertForPreTraining", set())],
)
def test_parts_that_a_file_lacks_are_new_and_said(
    kind: str, new: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = pair()[1].config
    theirs = getattr(transformers, kind)(config)
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    with caplog.at_level("WARNING"):
        ours = create_model("bert_small", pretrained=tmp_path / "pytorch_model.bin", **SIZES)
    said = {part for part in ("mlm.", "nsp.", "pooler.") if f"({part}*): it is new, to be trained" in caplog.text}
    assert said == new
    words = next(value for key, value in theirs.state_dict().items() if "word_embeddings" in key)
    assert torch.equal(ours.get_parameter("embeddings.words.weight"), words)


def test_it_is_what_the_protocols_ask() -> None:
    net = create_model("bert_mini", **SIZES)
    assert isinstance(net, LanguageModel)
    assert isinstance(net, TextEncoder)
    assert net.objective == "masked"
