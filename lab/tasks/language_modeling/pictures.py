"""Samples of text as pictures: a prompt with its continuation and what really follows, or hidden words that are filled.

They are kept as a table too (``Task.tables``), so that a run has them as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from lab.compat.lightning import strategy_of
from lab.data.text.tokenizer import TextTokenizer
from lab.report.canvas import BAD, GOOD, GREY, INK, draw_text
from lab.strategies import collectives
from lab.strategies.ddp import DDP
from lab.structures.language_modeling import CausalBatch, Generator, MaskedBatch
from lab.tasks.language_modeling.generating import Generation, continue_batch
from lab.tasks.language_modeling.prompts import Prompts, prompt_loader

if TYPE_CHECKING:
    from lab.tasks.language_modeling.task import LanguageModelingTask

LONGEST_PROMPT = 64
SAMPLE = Generation(max_new_tokens=150, temperature=0.8)
"""A little below the temperature of training, where small models write better text."""


def language_panels(task: LanguageModelingTask, outputs: Any, batch: Any, count: int) -> Iterator[Image.Image]:
    """Yield a picture of each of the first sequences of a batch; none where this rank holds only parts of the network.

    The sequences are measured already; texts are continued, or their hidden words filled, by the network anew.
    """
    alone = collectives.world_size() == 1 or isinstance(strategy_of(task), DDP)
    if not alone or not task.spec.tokenizer:
        return
    if task.spec.objective == "masked":
        yield from _filled(task, batch.rows(slice(0, count)))
    elif isinstance(task.net, Generator):
        yield from _continued(task, batch.rows(slice(0, count)))


def _continued(task: LanguageModelingTask, batch: CausalBatch) -> Iterator[Image.Image]:
    """Continue the first half of each sequence, and show the second one below."""
    tokenizer = task.tokenizer
    whole = [row[:length] for row, length in zip(batch.input_ids.tolist(), batch.lengths, strict=True)]
    ids = [row[: max(1, min(LONGEST_PROMPT, len(row) // 2))] for row in whole]
    texts = [tokenizer.decode(row, special=True) for row in ids]
    how = SAMPLE
    if task.net.max_length:  # a table of positions ends
        how = replace(SAMPLE, max_new_tokens=min(SAMPLE.max_new_tokens, task.net.max_length - max(map(len, ids))))
    if how.max_new_tokens < 1:
        return
    prompts = Prompts(texts, ids)  # a window of one: in their order
    (loaded,) = prompt_loader(prompts, len(ids), tokenizer.pad_id)
    found = continue_batch(task.net, tokenizer, loaded.to(task.device), how)
    for one, prompt, row in zip(found, ids, whole, strict=True):
        truth = tokenizer.decode(row[len(prompt) :], special=True)
        task.samples.append({"prompt": one.prompt, "continuation": one.text, "text": truth})
        yield draw_text([(one.prompt, INK), (one.text, GOOD), ("\n\nthe text itself: ", GREY), (truth, GREY)])


def _filled(task: LanguageModelingTask, batch: MaskedBatch) -> Iterator[Image.Image]:
    """Show the words that were hidden: those that were found in green, others in red with the true ones behind."""
    tokenizer, targets = task.tokenizer, batch.targets
    with torch.no_grad():
        outputs = task.net(batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.num_tokens)
        found = outputs.mlm_logits.argmax(-1).tolist()
    places = [part.tolist() for part in targets.positions.split(list(targets.counts))]
    labels = [part.tolist() for part in targets.labels.split(list(targets.counts))]
    for row, length, best, at, true in zip(batch.input_ids.tolist(), batch.lengths, found, places, labels, strict=True):
        spans, last = [], 0
        for place, label in sorted(zip(at, true, strict=True)):
            spans.append((tokenizer.decode(row[last:place]), INK))
            spans += _word(tokenizer, best[place], label)
            last = place + 1
        spans.append((tokenizer.decode(row[last:length]), INK))
        task.samples.append({"text": " ".join(text for text, _ in spans if text)})
        yield draw_text([(f"{text} ", colour) for text, colour in spans if text])


def _word(tokenizer: TextTokenizer, found: int, label: int) -> list[tuple[str, tuple[int, int, int]]]:
    names = [tokenizer.id_to_token(number) or "?" for number in (found, label)]
    return [(f"[{names[0]}]", GOOD)] if found == label else [(f"[{names[0]}]", BAD), (f"({names[1]})", GREY)]
