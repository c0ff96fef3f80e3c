"""Hidden words: what a masked language model (``lab.structures.language_modeling.Filler``) takes ``[MASK]`` for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lab.data.loader import eval_loader
from lab.data.sampler import EvalBatches
from lab.data.text.batching import pad_texts
from lab.data.text.lines import read_texts
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.structures.common import Movable
from lab.structures.language_modeling import Filler, LanguageSpec
from lab.tasks.language_modeling.prompts import SHOWN
from lab.text import one_line
from lab.training.parts import Parts, Records, RecordWriter, parts_in
from lab.training.predictor import MakeTrainer, Predictor

RESULTS = "predictions.jsonl"
MOST_PRINTED = 20


class Guess(NamedTuple):
    """A token and its probability."""

    token: str
    probability: float


@dataclass(frozen=True)
class Filled:
    """A text whose hidden tokens were guessed. As a string it is the text with the most probable ones.

    Attributes:
        number: that of the text.
        text: as it was given.
        mask: the name of the hidden token in it.
        guesses: for each hidden token the most probable ones, the best first.
    """

    number: int
    text: str
    mask: str
    guesses: tuple[tuple[Guess, ...], ...]

    def __str__(self) -> str:
        parts = re.split(rf"(\s*){re.escape(self.mask)}", self.text)
        found = parts[0]
        for guesses, blank, rest in zip(self.guesses, parts[1::2], parts[2::2], strict=True):
            token = guesses[0].token
            found += (token[2:] if token.startswith("##") else blank + token) + rest
        return found


class HiddenText(NamedTuple):
    """A text with hidden tokens.

    Attributes:
        number: that of the text.
        text: as it was given.
        ids: its tokens, ``[CLS]`` and ``[SEP]`` included; of a long text those around the hidden ones.
        positions: of the hidden ones.
    """

    number: int
    text: str
    ids: list[int]
    positions: list[int]


@dataclass
class HiddenBatch(Movable):
    """Texts with hidden tokens; P of them in all.

    Attributes:
        texts: as they were given.
        numbers: theirs.
        input_ids: (B, T) int64.
        attention_mask: (B, T) bool, True where a token stands; None where nothing is padded.
        num_tokens: of all texts.
        rows: (P,) int64, the text of each hidden token within the batch.
        positions: (P,) int64, its place within the text.
        counts: the hidden tokens of each text.
        valid: (B,) bool, False for a text that only pads the batch.
    """

    texts: tuple[str, ...]
    numbers: tuple[int, ...]
    input_ids: Tensor
    attention_mask: Tensor | None
    num_tokens: int
    rows: Tensor
    positions: Tensor
    counts: tuple[int, ...]
    valid: Tensor


class FillingTask(Protocol):
    """What of a task is needed to fill texts.

    Attributes:
        net: a ``Filler``.
        spec: tells how long texts may be.
        eval_settings: with ``top_k``.
        tokenizer: of the training data.
    """

    net: nn.Module
    spec: LanguageSpec
    eval_settings: dict[str, Any]

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        ...

    def evaluating(self) -> AbstractContextManager[None]:
        """Return a context without gradients and dropout."""
        ...


class HiddenTexts:
    """Texts with hidden tokens as a dataset."""

    aspect_ratios = None

    def __init__(self, texts: Sequence[HiddenText]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    def __getitem__(self, key: tuple[int, int]) -> HiddenText:
        """Return the text for ``(epoch, index)``."""
        return self.texts[key[1]]


def find_hidden(
    texts: Sequence[str], tokenizer: TextTokenizer, max_length: int, where: str = ""
) -> tuple[list[HiddenText], int]:
    """Return the texts that have hidden tokens, and how many of them are read in part.

    Args:
        texts: with the name of the hidden token, ``[MASK]``.
        tokenizer: the model's.
        max_length: the most tokens that are read at once: of a longer text those around its hidden ones.
        where: what to name before a text's number in messages.

    Raises:
        DataError: the tokenizer has no token for hidden ones, none of the texts has one, or those of a text are further
            apart than what is read at once.
    """
    special, found, cut = tokenizer.special, [], 0
    if special.mask is None or special.cls is None or special.sep is None:
        raise DataError("the model's tokenizer has no [MASK], [CLS] and [SEP]: it fills no hidden words")
    room = max_length - 2
    for number, text in enumerate(texts):
        ids = tokenizer.encode_marked(text)
        places = [place for place, token in enumerate(ids) if token == special.mask]
        if not places:
            continue
        span = places[-1] - places[0] + 1
        if span > room:
            raise DataError(
                f"{where}text {number + 1} ({text[:SHOWN]!r}): its first and last hidden token are {span} tokens "
                f"apart, and the model reads {room} at once; break it into several texts"
            )
        begin = min(max(0, places[0] - (room - span) // 2), max(0, len(ids) - room))
        cut += len(ids) > room
        inside = [special.cls, *ids[begin : begin + room], special.sep]
        found.append(HiddenText(number, text, inside, [place - begin + 1 for place in places]))
    if not found:
        name = tokenizer.id_to_token(special.mask)
        raise DataError(f"{where}{len(texts)} texts and no {name} in them: write it where a word is to be filled in")
    return found, cut


def hidden_loader(
    texts: Sequence[HiddenText], batch_size: int, pad_id: int, rank: int = 0, world_size: int = 1
) -> DataLoader[HiddenBatch]:
    """Return this rank's batches; ``batch_size`` is that of all ranks together."""
    batches = EvalBatches(len(texts), batch_size, rank, world_size)
    return eval_loader(HiddenTexts(texts), batches, partial(_collate, pad_id=pad_id), 0, torch.cuda.is_available())


def _collate(samples: Sequence[HiddenText], pad_id: int) -> HiddenBatch:
    numbers, texts, ids, positions = zip(*samples, strict=True)
    input_ids, mask, _, lengths = pad_texts(ids, pad_id)
    counts = tuple(map(len, positions))
    return HiddenBatch(
        texts,
        numbers,
        input_ids,
        mask,
        sum(lengths),
        torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
        torch.tensor([place for each in positions for place in each]),
        counts,
        torch.ones(len(texts), dtype=torch.bool),
    )


def fill_batch(net: nn.Module, tokenizer: TextTokenizer, batch: HiddenBatch, top_k: int) -> list[Filled]:
    """Return the guesses for each text of a batch, without those that only pad it.

    Raises:
        ConfigError: the network is no ``Filler``.
    """
    if not isinstance(net, Filler):
        raise ConfigError(f"{type(net).__name__} fills no hidden words: see lab.structures.language_modeling.Filler")
    logits = net.fill(batch.input_ids, batch.rows, batch.positions, batch.attention_mask, batch.num_tokens)
    top = logits.float().softmax(-1).topk(min(top_k, logits.shape[-1]), dim=-1)
    guesses = [
        tuple(Guess(tokenizer.id_to_token(token) or "", probability) for token, probability in zip(*pair, strict=True))
        for pair in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]
    mask = tokenizer.special.mask
    name = "" if mask is None else tokenizer.id_to_token(mask) or ""
    found, begin = [], 0
    for text, number, count, valid in zip(batch.texts, batch.numbers, batch.counts, batch.valid.tolist(), strict=True):
        if valid:
            found.append(Filled(number, text, name, tuple(guesses[begin : begin + count])))
        begin += count
    return found


def fill_texts(task: FillingTask, texts: Sequence[str], batch_size: int = 16, top_k: int | None = None) -> list[Filled]:
    """Return texts with the guesses for their hidden tokens.

    Args:
        task: a masked language model.
        texts: each with the name of the hidden token, ``[MASK]``.
        batch_size: texts that are read at once.
        top_k: tokens that are named for each hidden one; None: as ``eval.top_k`` says.

    Raises:
        DataError: a text has no hidden token, or ``find_hidden`` refuses it.
        ConfigError: the model fills no hidden words.
    """
    hidden, _ = find_hidden(texts, task.tokenizer, task.spec.max_length)
    if len(hidden) < len(texts):
        number = min({*range(len(texts))} - {one.number for one in hidden})
        raise DataError(f"text {number + 1} ({texts[number][:SHOWN]!r}) has no [MASK]: nothing is to be filled in")
    found: list[Filled] = []
    with task.evaluating():
        for batch in hidden_loader(hidden, batch_size, task.tokenizer.pad_id):
            found += fill_batch(task.net, task.tokenizer, batch.to(task.device), top_k or task.eval_settings["top_k"])
    return found


def fill_file(predictor: Predictor, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
    """Fill the texts of a file into ``predictions.jsonl``: a line for each that has a hidden token, in their order.

    Its keys are ``text``, ``filled`` (with the most probable tokens) and ``masks``: for each hidden token a list of
    ``token`` and ``probability``. The arguments are those of ``Predictor.run``.

    Raises:
        DataError: the file cannot be read, or ``find_hidden`` refuses its texts.
    """
    task, data = cast("FillingTask", predictor.task), predictor.data
    texts = read_texts(predictor.source, getattr(data, "column", "text"))
    found, cut = find_hidden(texts, task.tokenizer, task.spec.max_length, f"input={predictor.source}: ")
    loader = hidden_loader(found, data.batch_size, task.tokenizer.pad_id, data.plan.rank, data.plan.world_size)
    with parts_in(folder, rank) as parts:
        with closing(RecordWriter(parts)) as records:
            make_trainer([_WritingGuesses(records)]).predict(
                predictor.task, dataloaders=loader, return_predictions=False
            )
        folders = parts.collect()
        if rank == 0:
            left_out = len(texts) - len(found)
            notes = [f"{left_out} without a hidden word left out"] if left_out else []
            notes += [f"{cut} longer than the model reads: only the words around are read"] if cut else []
            _put_together(Records(folders), parts, notes)


def _put_together(records: Iterable[dict[str, Any]], parts: Parts, notes: list[str]) -> None:
    count = 0
    with (parts.merged / RESULTS).open("w", encoding="utf-8") as file:
        for record in records:
            del record["number"]
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            if count < MOST_PRINTED:
                print(one_line(record["filled"]))
                for guesses in record["masks"]:
                    print("  " + ", ".join(f"{one['token']} {one['probability']:.3f}" for one in guesses))
            count += 1
    parts.publish([parts.merged])
    shown = [f"the first {MOST_PRINTED} shown"] if count > MOST_PRINTED else []
    print("; ".join([f"{count} texts", *shown, *notes]))
    print(f"written   {parts.folder / RESULTS} (text, filled, masks)")


class _WritingGuesses(pl.Callback):
    """Writes the guesses of each batch."""

    def __init__(self, records: RecordWriter) -> None:
        self.records = records

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write a batch."""
        for one in outputs:
            masks = [
                [{"token": guess.token, "probability": round(guess.probability, 6)} for guess in guesses]
                for guesses in one.guesses
            ]
            self.records.write(one.number, {"text": one.text, "filled": str(one), "masks": masks})
