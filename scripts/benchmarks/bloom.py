"""BLOOM against transformers': forward, training step, reading a prompt, continuing it.

The networks have 8 blocks of width 512, 8 heads and 8,192 tokens. transformers' reads a prompt as its ``generate``
does: with a cache, logits of the last token only. Continuing is compared by the tokens, which must be the same.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from benchmarks.pairs import Made, Pair, Size, loss_of, worst
from torch import Tensor

import lab
from lab import create_model
from lab.models.bloom.cache import KeyValueCache
from lab.models.bloom.network import Bloom
from lab.models.bloom.weights import to_transformers
from lab.structures.language_modeling import CausalTargets

LAYERS, WIDTH, HEADS, NEW = 8, 512, 8, 64
NAMES = ("bloom_tiny", "bloom_560m", "bloom_1b1", "bloom_1b7", "bloom_3b", "bloom_7b1", "bloom_176b")


def networks(vocab_size: int, device: torch.device) -> tuple[Bloom, Any]:
    """Return lab's network and transformers' with the same weights, in evaluation."""
    import transformers

    torch.manual_seed(0)
    shape = {"vocab_size": vocab_size, "num_layers": LAYERS, "embed_dim": WIDTH, "num_heads": HEADS}
    ours: Any = create_model("bloom_tiny", **shape).eval()
    config = transformers.BloomConfig(
        vocab_size=vocab_size,
        n_layer=LAYERS,
        hidden_size=WIDTH,
        n_head=HEADS,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    theirs = transformers.BloomForCausalLM(config).eval()
    theirs.load_state_dict(to_transformers(ours.state_dict()), strict=True)
    return ours.to(device), theirs.to(device)


def make_ids(batch: int, size: Size, device: torch.device) -> Tensor:
    """Return random tokens (B, T)."""
    length, vocab_size = size
    return torch.randint(0, vocab_size, (batch, length), generator=torch.Generator().manual_seed(1)).to(device)


def make(
    name: str, batch: int, size: Size, device: torch.device, training: bool = False, dropout: bool = False
) -> Pair:
    """Return lab's network and transformers', compared by the logits of all tokens.

    Args:
        name: a registered BLOOM; all are timed in one shape.
        batch: sequences.
        size: (length, vocabulary).
        device: to compute on.
        training: training mode.
        dropout: not used: the published networks have none.
    """
    ours, theirs = networks(size[1], device)
    ours.train(training), theirs.train(training)
    ids = make_ids(batch, size, device)
    labels = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-1)
    targets = CausalTargets(labels, (size[0] - 1,) * batch)
    return Pair(
        ours,
        lambda: ours(ids).logits,
        batch,
        lambda: loss_of(ours, ours(ids, targets=targets), targets),
        theirs,
        lambda: theirs(ids, use_cache=False).logits,
        lambda: theirs(ids, labels=ids, use_cache=False).loss,
    )


def bloom_prefill(batch: int, size: Size, device: torch.device) -> Made:
    """Read prompts into a cache and compute the logits of their last tokens."""
    ours, theirs = networks(size[1], device)
    ids = make_ids(batch, size, device)

    @torch.no_grad()
    def run_ours() -> Tensor:
        return ours.logits(ours.step(ids, KeyValueCache(LAYERS, size[0] + NEW)))

    @torch.no_grad()
    def run_peer() -> Tensor:
        found: Tensor = theirs(ids, use_cache=True, logits_to_keep=1).logits[:, 0]
        return found

    return run_ours, run_peer, worst(run_ours(), run_peer())


def bloom_decode(batch: int, size: Size, device: torch.device) -> Made:
    """Continue prompts that were read before by 64 tokens, greedily."""
    ours, theirs = networks(size[1], device)
    ids = make_ids(batch, size, device)
    with torch.no_grad():
        read = KeyValueCache(LAYERS, size[0] + NEW)
        first = ours.logits(ours.step(ids, read)).argmax(-1, keepdim=True)
        peers = theirs(ids, use_cache=True, logits_to_keep=1).past_key_values

    @torch.no_grad()
    def run_ours() -> Tensor:
        cache, found = copy.deepcopy(read), [first]
        for _ in range(NEW - 1):
            found.append(ours.logits(ours.step(found[-1], cache)).argmax(-1, keepdim=True))
        return torch.cat(found, 1)

    @torch.no_grad()
    def run_peer() -> Tensor:
        cache, found = copy.deepcopy(peers), [first]
        for _ in range(NEW - 1):
            logits = theirs(found[-1], past_key_values=cache, use_cache=True).logits[:, -1]
            found.append(logits.argmax(-1, keepdim=True))
        return torch.cat(found, 1)

    return run_ours, run_peer, float(not torch.equal(run_ours(), run_peer()))


def bloom_generate(batch: int, size: Size, device: torch.device) -> Made:
    """Both libraries' ``generate``: prompts and 64 tokens more, greedily."""
    return _generated(*networks(size[1], device), make_ids(batch, size, device))


def bloom_generate_deployed(batch: int, size: Size, device: torch.device) -> Made:
    """The same, ours by the copy that ``lab.deploy`` makes."""
    ours, theirs = networks(size[1], device)
    ids = make_ids(batch, size, device)
    return _generated(lab.deploy(ours, example=ids), theirs, ids)


def _generated(ours: Bloom, theirs: Any, ids: Tensor) -> Made:
    how = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}

    def run_peer() -> Tensor:
        found: Tensor = theirs.generate(ids, attention_mask=torch.ones_like(ids), **how)
        return found

    return lambda: ours.generate(ids, NEW), run_peer, float(not torch.equal(ours.generate(ids, NEW), run_peer()))
