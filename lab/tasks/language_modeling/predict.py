"""``stage=predict`` of language models: causal ones continue the prompts of a file, masked ones fill hidden words.

Results are written batch by batch (``lab.training.parts``). Prompts of similar length share a batch, within windows of
many batches: the results of a window are put into the order of the file before they are written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lab.data.text.lines import read_texts
from lab.strategies import collectives
from lab.tasks.language_modeling.fill import fill_file
from lab.tasks.language_modeling.generating import Continuation, Generation
from lab.tasks.language_modeling.prompts import WINDOW, PromptBatch, Prompts, encode_prompts, prompt_loader
from lab.tasks.language_modeling.streaming import TextStream
from lab.tasks.language_modeling.task import LanguageModelingTask
from lab.text import one_line
from lab.training.parts import Parts, Records, RecordWriter, parts_in
from lab.training.predictor import MakeTrainer, Predictor
from lab.training.text_features import write_features

RESULTS = "predictions.jsonl"
MOST_PRINTED = 20
"""Continuations that are printed; the file has all."""
LONGEST_PRINTED = 300
"""Characters of each that are printed where they are not streamed."""


class LanguagePredictor(Predictor):
    """Writes ``predictions.jsonl``: a line of JSON for each continuation, in the order of the prompts.

    Its keys are ``prompt``, ``continuation``, ``tokens`` (ids), ``logprob``, ``stopped`` (why it ended), and ``sample``
    where each prompt has several.
    """

    task: LanguageModelingTask

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Continue the prompts, or fill hidden words (``fill_file``).

        Raises:
            DataError: the file cannot be read, or a prompt cannot be continued.
        """
        if layers := self.task.eval_settings.get("features"):
            write_features(self, layers, getattr(self.data, "column", "text"), make_trainer, folder, rank)
            return
        how, plan = Generation.of(self.groups["generation"]), self.data.plan
        if self.task.spec.objective == "masked":
            if how != Generation() and rank == 0:
                print("note: generation.* is for causal models; a masked one fills hidden words (eval.top_k)")
            fill_file(self, make_trainer, folder, rank)
            return
        texts = read_texts(self.source, getattr(self.data, "column", "text"))
        ids = encode_prompts(texts, self.task.tokenizer, self.task.room(how), f"input={self.source}: ")
        streams = self._streams(len(texts) * how.num_samples)
        batch_size = 1 if streams else self.data.batch_size
        prompts = Prompts(texts, ids, how.num_samples, 1 if streams else WINDOW * batch_size)
        loader = prompt_loader(prompts, batch_size, self.task.tokenizer.pad_id, plan.rank, plan.world_size)
        self.task.generation = how
        with parts_in(folder, rank) as parts:
            with closing(RecordWriter(parts)) as records:
                part = _InOrder(records, prompts.window, how.num_samples)
                shown = [_Streaming(self.task, how)] if streams else []
                trainer = make_trainer([*shown, part], progress=not streams)
                trainer.predict(self.task, dataloaders=loader, return_predictions=False)
                part.flush()
            folders = parts.collect()
            if rank == 0:
                self._put_together(Records(folders), parts, streams)

    def _streams(self, count: int) -> bool:
        """Return whether continuations are shown as they grow: one after the other, in one process."""
        asked, alone = self.groups["generation"]["stream"], collectives.world_size() == 1
        if asked and not alone and collectives.rank() == 0:
            print("note: generation.stream=true is for one process; several write at once")
        if asked is None:
            return alone and count <= MOST_PRINTED and sys.stdout.isatty()
        return bool(asked) and alone

    def _put_together(self, records: Iterable[dict[str, Any]], parts: Parts, streamed: bool) -> None:
        """Write the records of all ranks in the order of the prompts; print the first ones and where they are."""
        count = 0
        with (parts.merged / RESULTS).open("w", encoding="utf-8") as file:
            for record in records:
                del record["number"]
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                if not streamed and count < MOST_PRINTED:
                    print(cut(one_line(record["prompt"] + record["continuation"])))
                count += 1
        parts.publish([parts.merged])
        shown = f", the first {MOST_PRINTED} shown" if count > MOST_PRINTED and not streamed else ""
        print(f"{count} continuations{shown}")
        print(f"written   {parts.folder / RESULTS} (prompt, continuation, tokens, logprob, stopped)")


def cut(text: str) -> str:
    """Return a text that is not too long to print."""
    return text if len(text) <= LONGEST_PRINTED else f"{text[: LONGEST_PRINTED - 1]}…"


class _InOrder(pl.Callback):
    """Writes the continuations of a window in the order of the prompts, once all of them are there."""

    def __init__(self, records: RecordWriter, window: int, num_samples: int) -> None:
        self.records, self.window, self.num_samples = records, window, num_samples
        self.waiting: list[Continuation] = []

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Take the continuations of a batch."""
        found: list[Continuation] = outputs
        if found and self.waiting and found[0].number // self.window != self.waiting[0].number // self.window:
            self.flush()
        self.waiting += found

    def flush(self) -> None:
        """Write what waits."""
        for one in sorted(self.waiting, key=lambda one: one.number):
            self.records.write(one.number, self._record(one))
        self.waiting = []

    def _record(self, one: Continuation) -> dict[str, Any]:
        record: dict[str, Any] = {"prompt": one.prompt, "continuation": one.text, "tokens": list(one.tokens)}
        record |= {"logprob": round(one.logprob, 4), "stopped": one.stopped}
        return record | ({"sample": one.number % self.num_samples} if self.num_samples > 1 else {})


class _Streaming(pl.Callback):
    """Prints each prompt, and its continuation while it grows."""

    def __init__(self, task: LanguageModelingTask, how: Generation) -> None:
        self.task, self.how = task, how
        self.stream: TextStream | None = None

    def on_predict_batch_start(
        self, trainer: Any, pl_module: Any, batch: PromptBatch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Print the prompt."""
        self.stream = stream = TextStream(self.task.tokenizer, self.how.stop, behind=bool(batch.texts[0]))
        stream.write(batch.texts[0])
        self.task.grow = lambda batch, tokens: stream.add(tokens[0])

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Print what has waited, and go to the next line."""
        assert self.stream is not None
        self.stream.finish(outputs[0].text)
        self.stream.write("\n")
