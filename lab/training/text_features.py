"""Features of tokens: the states of chosen layers for each token of each text, as a Parquet file.

What extract_features.py of Google's BERT writes as JSON (Devlin et al., NAACL 2019, section 5.3). Every kind of
problem on text offers it as ``stage=predict`` with ``eval.features``. A text is encoded as ``lab.data.text.sequences``
does, and cut off where it is longer than the task's sequences. Results are written batch by batch, a row group for
each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from lab.data.loader import eval_loader
from lab.data.sampler import EvalBatches
from lab.data.text.batching import pad_texts
from lab.data.text.lines import read_texts
from lab.data.text.sequences import EncodedTexts, TextEncoding, TextWindow
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError
from lab.structures import Movable
from lab.structures.text import TextBatch, TextEncoder, TextSpec
from lab.training.parquet_rows import row_groups_in_turn
from lab.training.parts import parts_in
from lab.training.predictor import MakeTrainer, Predictor
from lab.training.task import Task

RESULT = "features.parquet"
_PART = "features"
"""The file of a rank. It has no suffix, since it is not a result."""
PAIR = " ||| "
"""Between both texts of a pair in a line, as in Google's extract_features.py."""


class TokenStates(NamedTuple):
    """The states of the N tokens of a batch, those of one text after the other.

    Attributes:
        texts: (N,) int64, the number of each token's text.
        positions: (N,) int64, its place in the sequence.
        ids: (N,) int64.
        layers: (N, C) float32 for each layer that was asked for.
    """

    texts: Tensor
    positions: Tensor
    ids: Tensor
    layers: tuple[Tensor, ...]


@dataclass
class NoTargets(Movable):
    """The targets of texts that nothing is compared with."""

    def rows(self, chosen: slice) -> NoTargets:
        """Return itself."""
        return self


class TextSequences:
    """Encoded texts as a ``KeyedDataset``.

    Args:
        encoded: one window each.
    """

    aspect_ratios = None

    def __init__(self, encoded: EncodedTexts) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.encoded)

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, TextWindow]:
        """Return number and tokens of the text at ``(epoch, index)``."""
        return key[1], self.encoded.windows(key[1])[0]


class Extraction(pl.LightningModule):
    """Runs a task's network as an encoder, under any strategy.

    Args:
        task: the task.
        layers: which layers: 0 the embeddings, 1 the first block, -1 the last one.

    Raises:
        ConfigError: the network is no encoder of text.
    """

    def __init__(self, task: Task, layers: Sequence[int]) -> None:
        super().__init__()
        self.net, self.layers = task.net, tuple(layers)
        inner = getattr(task.net, "encoder", None)
        found = task.net if isinstance(task.net, TextEncoder) else inner
        if not isinstance(found, TextEncoder):
            raise ConfigError(
                f"eval.features: {type(task.net).__name__} is no encoder of text with layers, and has none as encoder: "
                "see lab.structures.text.TextEncoder"
            )
        self.encoder: Any = found

    def predict_step(self, batch: TextBatch[NoTargets], batch_idx: int) -> TokenStates:
        """Return the states of the tokens of a batch, on the host, without texts that only fill up.

        Raises:
            ConfigError: there is no such layer.
        """
        found = self.encoder.encode(
            batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.num_tokens, hidden_states=True
        )
        states: Sequence[Tensor] = found.hidden_states
        odd = [layer for layer in self.layers if not -len(states) <= layer < len(states)]
        if odd:
            raise ConfigError(
                f"eval.features={list(self.layers)}: the network has {len(states) - 1} layers, -1 the last one and "
                f"{1 - len(states)} the first, and its embeddings as {-len(states)} or 0"
            )
        standing = torch.ones_like(batch.input_ids, dtype=torch.bool)
        if batch.attention_mask is not None:
            standing = batch.attention_mask
        standing = standing & batch.valid[:, None]
        rows, positions = standing.nonzero(as_tuple=True)
        layers = tuple(states[layer][rows, positions].float().cpu() for layer in self.layers)
        return TokenStates(
            batch.sample_ids[rows].cpu(), positions.cpu(), batch.input_ids[rows, positions].cpu(), layers
        )


def write_features(
    predictor: Predictor, layers: Sequence[int], column: str, make_trainer: MakeTrainer, folder: Path, rank: int
) -> None:
    """Write the features of a file's texts to ``features.parquet``; every rank calls this.

    The columns are ``text`` (its number, from 0), ``position``, ``token`` and a list of float32 for each layer, named
    ``layer_-1``. A text ``first ||| second`` is a pair.

    Args:
        predictor: knows the file (a text file, read line by line, or a table with a column of texts), the task and
            this rank's share of the data.
        layers: see ``Extraction``.
        column: the name of the column.
        make_trainer: makes the Trainer.
        folder: where the result goes.
        rank: the rank of this process.

    Raises:
        DataError: the file cannot be read.
        ConfigError: the network has no such layers.
    """
    from pyarrow import parquet

    task, plan, spec = predictor.task, predictor.data.plan, predictor.task.spec
    assert isinstance(spec, TextSpec)
    module = Extraction(task, layers)
    texts = read_texts(predictor.source, column)
    tokenizer = TextTokenizer.from_text(spec.tokenizer)
    encoded = encode(texts, TextEncoding(tokenizer, spec.max_length))
    batches = EvalBatches(len(texts), predictor.data.batch_size, plan.rank, plan.world_size)
    loader = eval_loader(
        TextSequences(encoded), batches, _FeaturesCollate(tokenizer.pad_id), 0, torch.cuda.is_available()
    )
    schema = feature_schema(layers)
    with parts_in(folder, rank) as parts:
        with parquet.ParquetWriter(parts.own / _PART, schema) as writer:
            part = _FeaturesWriting(writer, schema, tokenizer)
            make_trainer([part]).predict(module, dataloaders=loader, return_predictions=False)
        folders = parts.collect()
        if rank == 0:
            count = 0
            with parquet.ParquetWriter(parts.merged / RESULT, schema) as whole:
                for table in row_groups_in_turn([path / _PART for path in folders]):
                    whole.write_table(table)
                    count += len(table)
            parts.publish([parts.merged])
            cut = f", {encoded.shortened} of them cut off at {spec.max_length} tokens" if encoded.shortened else ""
            print(f"{len(texts)} texts, {count} tokens{cut}")
            print(f"written   {folder / RESULT} ({', '.join(schema.names)})")


def encode(texts: Sequence[str], encoding: TextEncoding) -> EncodedTexts:
    """Return texts, and pairs of texts, as tokens."""
    halves = [text.split(PAIR, 1) for text in texts]
    return encoding.encode([half[0] for half in halves], [half[1] if len(half) == 2 else None for half in halves])


def feature_schema(layers: Sequence[int]) -> Any:
    """Return the columns of the result."""
    import pyarrow

    fields = [("text", pyarrow.int64()), ("position", pyarrow.int32()), ("token", pyarrow.string())]
    return pyarrow.schema([*fields, *((f"layer_{layer}", pyarrow.list_(pyarrow.float32())) for layer in layers)])


class _FeaturesCollate:
    """Puts texts together into a batch."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, samples: Sequence[tuple[int, TextWindow]]) -> TextBatch[NoTargets]:
        ids = [window for _, (window, _) in samples]
        types = [[0] * first + [1] * (len(window) - first) for _, (window, first) in samples]
        paired = any(row[-1] for row in types if row)
        input_ids, mask, type_ids, lengths = pad_texts(ids, self.pad_id, types if paired else None)
        numbers = torch.tensor([number for number, _ in samples])
        valid = torch.ones(len(samples), dtype=torch.bool)
        return TextBatch(input_ids, mask, type_ids, lengths, NoTargets(), numbers, valid)


class _FeaturesWriting(pl.Callback):
    """Writes the states of a rank, a row group for each batch."""

    def __init__(self, writer: Any, schema: Any, tokenizer: TextTokenizer) -> None:
        self.writer, self.schema, self.tokenizer = writer, schema, tokenizer

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Append the states of a batch."""
        if len(outputs.ids):  # none for a batch that only fills up, which comes last
            self.writer.write_table(self._table(outputs))

    def _table(self, found: TokenStates) -> Any:
        import pyarrow

        names = [self.tokenizer.id_to_token(number) for number in found.ids.tolist()]
        numbers = [pyarrow.array(part.numpy()) for part in (found.texts, found.positions.int())]
        columns = [*numbers, pyarrow.array(names)]
        for layer in found.layers:
            ends = torch.arange(len(layer) + 1, dtype=torch.int32) * layer.shape[1]
            values = pyarrow.array(layer.contiguous().view(-1).numpy())
            columns.append(pyarrow.ListArray.from_arrays(pyarrow.array(ends.numpy()), values))
        return pyarrow.table(columns, schema=self.schema)
