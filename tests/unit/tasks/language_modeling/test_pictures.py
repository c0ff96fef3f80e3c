"""Samples of text: prompt, continuation and truth; hidden words that were found, and those that were not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from lab.data.text.tokenizer import TextTokenizer
from lab.report.canvas import BAD, GOOD, GREY, INK, PAPER
from lab.structures.language_modeling import CausalTargets, LanguageSpec, MaskedTargets
from lab.structures.text import TextBatch
from lab.tasks.language_modeling.pictures import SAMPLE, language_panels
from lab.tasks.language_modeling.task import LanguageModelingTask
from tests.unit.tasks.language_modeling.generators import make_generator
from tests.unit.tasks.language_modeling.makers import EVAL, OPTIMIZER, SCHEDULER, TINY


def colours(picture: Image.Image) -> set[Any]:
    """Return the colours that cover pixels as a whole, where letters are thick."""
    return {colour for count, colour in picture.getcolors(1 << 20) or [] if count > 3}


def batch_of(tokenizer: TextTokenizer, texts: list[str], targets: Any) -> TextBatch[Any]:
    ids = torch.tensor([tokenizer.encode(text) for text in texts])
    lengths = (ids.shape[1],) * len(ids)
    numbers, valid = torch.arange(len(ids)), torch.ones(len(ids), dtype=torch.bool)
    return TextBatch(ids, None, None, lengths, targets, numbers, valid)


@pytest.mark.parametrize("net", [{}, {"positions": "learned", "max_length": 20}])
def test_a_text_is_continued_beside_what_follows(net: dict[str, Any]) -> None:
    task = make_generator(**net)
    texts = ["abcdefgh .", "hhhhhaaaaa", "..........", "gfedcbaabc"]
    batch = batch_of(task.tokenizer, texts, CausalTargets(torch.zeros(4, 10, dtype=torch.int64), (10,) * 4))
    panels = list(language_panels(task, None, batch, 3))
    assert len(panels) == 3
    assert {INK, GOOD, GREY, PAPER} <= colours(panels[0])
    assert [(row["prompt"], row["text"]) for row in task.samples] == [(text[:5], text[5:]) for text in texts[:3]]
    assert {len(row["continuation"]) for row in task.samples} == {15 if net else SAMPLE.max_new_tokens}
    task.compute_metrics("test")
    assert task.tables["samples"] == task.samples
    task.reset_metrics("test")
    assert task.samples == []


class Knowing:
    """A network that takes every token for the one before it in the vocabulary, and a ``d`` for itself."""

    def __call__(self, input_ids: torch.Tensor, *others: Any) -> Any:
        found = torch.where(input_ids == 3, 3, input_ids - 1).clamp(min=0)
        return SimpleNamespace(mlm_logits=torch.nn.functional.one_hot(found, 8).float())


def test_hidden_words_that_were_found_and_those_that_were_not() -> None:
    tokenizer = TextTokenizer.characters("abcdefgh")
    spec = LanguageSpec(objective="masked", tokenizer=tokenizer.to_text(), vocab_size=8, max_length=8)
    arguments = ({"_target_": TINY, "objective": "masked"}, spec.to_plain(), OPTIMIZER, SCHEDULER, 4)
    task = LanguageModelingTask(*arguments, EVAL).eval()
    object.__setattr__(task, "net", Knowing())
    targets = MaskedTargets(torch.tensor([3, 1, 0]), torch.tensor([3, 7, 1]), (2, 1))
    (panel,) = language_panels(task, None, batch_of(tokenizer, ["abcdef", "cbagfe"], targets), 1)
    assert {INK, GOOD, BAD, GREY} <= colours(panel)
    assert task.samples == [{"text": "a [a] (h) c [d] ef"}]


def test_nothing_is_drawn_without_a_tokenizer() -> None:
    task = make_generator()
    object.__setattr__(task, "spec", LanguageSpec())
    assert list(language_panels(task, None, None, 3)) == []
