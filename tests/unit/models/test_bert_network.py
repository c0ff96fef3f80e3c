"""What BERT does with padding, missing parts and wrong input; its numbers are compared in tests/parity/test_bert.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import lab
from lab.errors import ConfigError
from lab.models.bert.network import Bert
from lab.models.bert.weights import to_transformers
from lab.registry.parallel import blocks_of
from lab.structures.language_modeling import MaskedTargets
from lab.training.terms import batch_terms

SIZES: dict[str, Any] = {
    "vocab_size": 31,
    "embed_dim": 16,
    "num_layers": 2,
    "num_heads": 2,
    "feedforward_dim": 24,
    "max_length": 12,
}


def make(**changes: Any) -> Bert:
    torch.manual_seed(0)
    net = lab.create_model("bert_tiny", **{**SIZES, **changes})
    assert isinstance(net, Bert)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def batch(lengths: tuple[int, ...], at_left: bool = False) -> tuple[Tensor, Tensor]:
    words = torch.randint(31, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return words, mask.flip(1) if at_left else mask


@pytest.mark.parametrize("at_left", [False, True])
def test_a_sequence_does_not_depend_on_the_others_nor_on_its_padding(at_left: bool) -> None:
    net = make()
    lengths = (12, 5, 1, 8)
    words, mask = batch(lengths, at_left)
    other = torch.where(mask, words, (words + 7) % 31)
    found, again = net(words, mask, num_tokens=sum(lengths)), net(other, mask)
    assert torch.equal(found.last_hidden_state, again.last_hidden_state)
    assert not found.last_hidden_state[~mask].any()
    assert not found.mlm_logits[~mask].any()
    if at_left:  # places count from the first column, so a shorter batch is another one
        return
    for row, length in enumerate(lengths):
        alone = net(words[row : row + 1, :length])
        torch.testing.assert_close(alone.last_hidden_state[0], found.last_hidden_state[row, :length], rtol=0, atol=1e-5)
        torch.testing.assert_close(alone.pooled[0], found.pooled[row], rtol=0, atol=1e-5)


def test_a_mask_that_hides_nothing_changes_nothing() -> None:
    net = make()
    words, mask = batch((7, 7))
    for given in ((mask, 14), (mask, None), (None, None)):
        torch.testing.assert_close(net(words, given[0], None, given[1]).pooled, net(words).pooled, rtol=0, atol=1e-5)


def test_a_sequence_without_tokens_spoils_nothing() -> None:
    net = make()
    words, mask = batch((6, 4, 3))
    mask[1] = False
    targets = MaskedTargets(torch.tensor([2, 1]), torch.tensor([3, 4]), (1, 0, 1), torch.tensor([0, 1, 1]))
    outputs = net(words, mask, targets=targets)
    loss = torch.stack(list(batch_terms(net, outputs, targets).values())).sum()
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("counts", [(1, 1), (0, 0)])
def test_every_parameter_gets_a_gradient_without_pairs_and_without_hidden_words(counts: tuple[int, int]) -> None:
    net = make().train()
    words, mask = batch((6, 4))
    number = sum(counts)
    targets = MaskedTargets(torch.zeros(number, dtype=torch.int64), torch.ones(number, dtype=torch.int64), counts)
    outputs = net(words, mask, targets=targets)
    assert outputs.scores is not None
    assert outputs.scores.next_sentence_losses is None
    assert net.totals(targets) == {"masked_tokens": float(number)}
    terms = net.loss(outputs, targets)
    assert set(terms) == {"loss_mlm"}
    terms["loss_mlm"].sum.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_correct_words_are_counted_outside_of_training() -> None:
    net = make()
    words, mask = batch((6, 4))
    best = net(words, mask).mlm_logits.argmax(-1)
    targets = MaskedTargets(torch.tensor([5, 0, 3]), torch.stack([best[0, 5], best[1, 0], best[1, 3] ^ 1]), (1, 2))
    scores = net(words, mask, targets=targets).scores
    assert scores is not None
    assert scores.correct is not None
    assert scores.correct.tolist() == [True, True, False]


def test_the_mean_of_states_is_that_of_tokens() -> None:
    net = make(heads=False, pooler="mean")
    words, mask = batch((6, 4))
    found = net.encode(words, mask)
    for row, length in enumerate((6, 4)):
        torch.testing.assert_close(found.pooled[row], found.last_hidden_state[row, :length].mean(0))
    assert not any(key.startswith(("pooler", "mlm", "nsp")) for key in net.state_dict())


def test_dropout_is_in_training_only() -> None:
    net = make(dropout=0.5)
    words, mask = batch((6, 4))
    assert torch.equal(net(words, mask).pooled, net(words, mask).pooled)
    net.train()
    assert not torch.equal(net(words, mask).pooled, net(words, mask).pooled)


def test_matrices_begin_within_two_deviations() -> None:
    net = lab.create_model("bert_mini", vocab_size=500)
    weight = net.get_parameter("embeddings.words.weight").detach()
    assert weight.abs().max() <= 0.04
    assert float(weight.std()) == pytest.approx(0.02 * 0.8796, rel=0.02)
    assert not net.get_parameter("blocks.0.qkv.bias").any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_heads": 3}, "num_heads"),
        ({"pooler": "mean"}, "the heads of pretraining need pooler=dense"),
        ({"activation": "relu"}, "activation"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lab.create_model("bert_tiny", **{**SIZES, **arguments})


def test_input_that_does_not_fit_is_refused() -> None:
    net = make(heads=False)
    with pytest.raises(ConfigError, match=r"sequences of 13 tokens are longer than model\.net\.max_length=12"):
        net(torch.zeros(1, 13, dtype=torch.int64))
    with pytest.raises(ConfigError, match=r"tokens of shape \(3,\): expected \(B, T\)"):
        net(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ConfigError, match="heads=false: this BERT has no head for hidden words"):
        _ = net(torch.zeros(1, 3, dtype=torch.int64)).mlm_logits
    with pytest.raises(ConfigError, match="heads=false: this BERT has no head for pairs"):
        _ = net(torch.zeros(1, 3, dtype=torch.int64)).nsp_logits


def test_units_of_bert_and_of_networks_on_it() -> None:
    options = {key: SIZES[key] for key in ("embed_dim", "num_layers", "num_heads", "feedforward_dim")}
    for name in ("text_classifier", "span_answerer"):
        net: Any = lab.create_model(name, vocab_size=31, encoder="bert_tiny", encoder_options=options)
        assert blocks_of(net) == list(net.encoder.blocks)
    assert len(blocks_of(make())) == 2


def test_a_copy_for_inference_computes_the_same() -> None:
    net = make(embed_dim=64, feedforward_dim=256)
    words, mask = batch((12, 5, 8))
    deployed: Any = lab.deploy(net, (words, mask))
    assert deployed.deployment.packed == 2 * 4 + 3
    torch.testing.assert_close(deployed(words, mask).pooled, net(words, mask).pooled, rtol=0, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(deployed(words, mask).mlm_logits, net(words, mask).mlm_logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [("bert_tin", "did you mean 'bert_tiny'"), ("resnet18", "takes no vocab_size, so it is no encoder of text")],
)
def test_an_encoder_that_is_none_is_refused(encoder: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lab.create_model("text_classifier", encoder=encoder)


def test_matrices_begin_with_the_deviation_that_is_asked_for() -> None:
    """A normal distribution cut at two deviations has 0.880 of its deviation."""
    for asked in (0.02, 0.088):
        net = lab.create_model("bert_tiny", vocab_size=500, init_std=asked)
        for name, parameter in net.named_parameters():
            if parameter.numel() > 10_000:
                assert abs(float(parameter.detach().std()) / (0.880 * asked) - 1) < 0.03, name
                assert float(parameter.detach().abs().max()) <= 2 * asked


def test_a_batch_without_any_token_is_computed() -> None:
    net, ids = make().eval(), torch.ones(2, 4, dtype=torch.int64)
    found = net.encode(ids, torch.zeros(2, 4, dtype=torch.bool))
    values = [value for value in vars(found).values() if isinstance(value, Tensor) and value.is_floating_point()]
    assert values
    assert all(bool(value.isfinite().all()) for value in values)


def test_shards_may_hold_the_matrix_of_the_words_twice(tmp_path: Path) -> None:
    """transformers' ``decoder.weight``: the shapes of shards are read before their numbers."""
    source = make()
    state = {key: value.contiguous().clone() for key, value in to_transformers(source.state_dict()).items()}
    names = sorted(state)
    files = {name: f"model-{number % 2 + 1:05d}-of-00002.safetensors" for number, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: state[name] for name in names if files[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    net = lab.create_model("bert_tiny", **SIZES, pretrained=str(tmp_path / "model.safetensors.index.json"))
    for name, value in source.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
