"""BERT beside transformers' one: a step of pretraining, inference of classifier and answerer on natural lengths."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.pairs import Made, Pair, Size, fill_norms, loss_of, step_of, worst
from torch import Tensor

from lab import create_model
from lab.models.bert.weights import convert
from lab.structures.language_modeling import MaskedTargets

NAMES = (
    "bert_base_uncased",
    "bert_tiny",
    "bert_mini",
    "bert_small",
    "bert_medium",
    "bert_base_cased",
    "bert_large_uncased",
    "bert_large_cased",
)
HEADS = ("text_classifier", "span_answerer")
HIDDEN = 0.15
"""The share of tokens that are hidden (Devlin et al., 2019, section 3.1)."""


def lengths_of(batch: int, longest: int, natural: bool) -> tuple[int, ...]:
    """Return the number of tokens of each sequence, the first one the longest.

    Args:
        batch: B.
        longest: T.
        natural: as sentences are: log-normal, half of them below a third of the longest; else evenly spread, so that
            72 % of all positions are tokens.
    """
    if natural:
        spread = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(batch) + 0.5) / batch)
        found = (longest * 0.3 * (0.55 * spread).exp()).round().long().clamp(4, longest)
    else:
        found = torch.linspace(0.44, 1.0, batch).mul(longest).round().long()
    found[-1] = longest
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(0))
    return tuple(found[order].tolist())


def make_batch(lengths: tuple[int, ...], vocab_size: int, device: torch.device) -> dict[str, Tensor]:
    """Return tokens, mask and types (B, T) of random sequences."""
    generator = torch.Generator().manual_seed(1)
    shape = (len(lengths), max(lengths))
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    words = torch.randint(vocab_size, shape, generator=generator)
    types = (torch.arange(shape[1]) >= torch.tensor(lengths)[:, None] // 2) & mask
    found = {"input_ids": words, "attention_mask": mask, "token_type_ids": types.long()}
    return {key: value.to(device) for key, value in found.items()}


def make_targets(lengths: tuple[int, ...], vocab_size: int, device: torch.device) -> MaskedTargets:
    """Return hidden words, 15 % of each sequence, and pairs."""
    generator = torch.Generator().manual_seed(2)
    counts = tuple(max(1, round(HIDDEN * length)) for length in lengths)
    pairs = zip(lengths, counts, strict=True)
    places = [torch.randperm(length, generator=generator)[:count].sort()[0] for length, count in pairs]
    labels = torch.randint(vocab_size, (sum(counts),), generator=generator)
    following = torch.arange(len(lengths)) % 2
    return MaskedTargets(torch.cat(places), labels, counts, following).to(device)


def networks(name: str, vocab_size: int, device: torch.device, dropout: bool, **sizes: Any) -> tuple[Any, Any]:
    """Return lab's network and transformers' one with the same weights, norms far from the identity.

    Args:
        name: a registered model.
        vocab_size: V.
        device: of both.
        dropout: whether they have it.
        **sizes: arguments of a BERT that its name does not decide.
    """
    rate = 0.1 if dropout else 0.0
    bare = {"dropout": rate} if name in HEADS else {"dropout": rate, "attention_dropout": rate, **sizes}
    options = {"encoder_options": {"attention_dropout": rate, **sizes}} if name in HEADS else {}
    ours: Any = create_model(name, vocab_size=vocab_size, **bare, **options)
    net = ours.encoder if name in HEADS else ours
    transformers = importlib.import_module("transformers")
    config = transformers.BertConfig(
        vocab_size=vocab_size,
        hidden_size=net.embed_dim,
        num_hidden_layers=len(net.blocks),
        num_attention_heads=net.blocks[0].num_heads,
        intermediate_size=net.blocks[0].fc1.out_features,
        max_position_embeddings=net.max_length,
        hidden_dropout_prob=rate,
        attention_probs_dropout_prob=rate,
    )
    kinds = {"text_classifier": "BertForSequenceClassification", "span_answerer": "BertForQuestionAnswering"}
    peer = getattr(transformers, kinds.get(name, "BertForPreTraining"))(config)
    fill_norms(peer)
    state = peer.state_dict()
    ours.load_state_dict(ours.adapt_weights(state) if name in HEADS else convert(state))
    return ours.to(device), peer.to(device)


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return a BERT or a network on it, see ``benchmarks.pairs.Make``.

    Args:
        name: a registered model.
        batch: sequences.
        size: (longest sequence, tokens of the vocabulary).
        device: to compute on.
        training: training mode.
        dropout: with dropout.
    """
    longest, vocab_size = size
    ours, peer = (net.train(training) for net in networks(name, vocab_size, device, dropout))
    lengths = lengths_of(batch, longest, natural=False)
    given = make_batch(lengths, vocab_size, device)
    count, mask = sum(lengths), given["attention_mask"]
    if name == "text_classifier":
        return Pair(
            ours,
            lambda: ours(**given, num_tokens=count),
            batch,
            peer=peer,
            peer_outputs=lambda: peer(**given).logits,
        )
    if name == "span_answerer":
        return Pair(
            ours,
            lambda: torch.stack(ours(**given, num_tokens=count), -1)[mask],
            batch,
            peer=peer,
            peer_outputs=lambda: torch.stack(_spans(peer(**given)), -1)[mask],
        )
    targets = make_targets(lengths, vocab_size, device)
    labels = labels_of(targets, mask)

    def peer_loss() -> Tensor:
        found: Tensor = peer(**given, labels=labels, next_sentence_label=targets.next_sentence).loss
        return found

    return Pair(
        ours,
        lambda: ours(**given, num_tokens=count).last_hidden_state[mask],
        batch,
        lambda: loss_of(ours, ours(**given, num_tokens=count, targets=targets), targets),
        peer,
        lambda: peer.bert(**given).last_hidden_state[mask],
        peer_loss,
    )


def labels_of(targets: MaskedTargets, mask: Tensor) -> Tensor:
    """Return the hidden words (B, T) as transformers takes them, -100 elsewhere."""
    labels = torch.full(mask.shape, -100, device=mask.device)
    counts = torch.tensor(targets.counts, device=mask.device)
    rows = torch.arange(len(counts), device=mask.device).repeat_interleave(counts)
    labels[rows, targets.positions] = targets.labels
    return labels


def _spans(outputs: Any) -> tuple[Tensor, Tensor]:
    return outputs.start_logits, outputs.end_logits


def pretraining_row(batch: int, size: Size, device: torch.device) -> Made:
    """Forward, both losses and backward of four layers of width 768, dropout as published, 72 % of positions tokens.

    Compared by the loss without dropout.

    Args:
        batch: sequences.
        size: (longest sequence, tokens of the vocabulary).
        device: to compute on.
    """
    longest, vocab_size = size
    ours, peer = networks("bert_base_uncased", vocab_size, device, dropout=True, num_layers=4)
    lengths = lengths_of(batch, longest, natural=False)
    given, targets = make_batch(lengths, vocab_size, device), make_targets(lengths, vocab_size, device)
    labels, count = labels_of(targets, given["attention_mask"]), sum(lengths)

    def loss() -> Tensor:
        return loss_of(ours, ours(**given, num_tokens=count, targets=targets), targets)

    def peer_loss() -> Tensor:
        found: Tensor = peer(**given, labels=labels, next_sentence_label=targets.next_sentence).loss
        return found

    ours.eval(), peer.eval()
    with torch.no_grad():
        difference = float(abs(loss() / peer_loss() - 1))
    ours.train(), peer.train()
    return step_of(ours, loss), step_of(peer, peer_loss), difference


def inference_row(name: str) -> Callable[[int, Size, torch.device], Made]:
    """Return a row: logits of four layers of BERT-Base and a head, on sequences of natural lengths, padded."""

    def row(batch: int, size: Size, device: torch.device) -> Made:
        longest, vocab_size = size
        ours, peer = (net.eval() for net in networks(name, vocab_size, device, dropout=False, num_layers=4))
        lengths = lengths_of(batch, longest, natural=True)
        given = make_batch(lengths, vocab_size, device)
        mask, count = given["attention_mask"], sum(lengths)

        def run() -> Tensor:
            found = ours(**given, num_tokens=count)
            return found if isinstance(found, Tensor) and found.ndim == 2 else torch.stack(tuple(found), -1)[mask]

        def run_peer() -> Tensor:
            found = peer(**given)
            return found.logits if "logits" in found else torch.stack(_spans(found), -1)[mask]

        mine, theirs = (torch.inference_mode()(call) for call in (run, run_peer))
        return mine, theirs, worst(mine(), theirs())

    return row
