"""Language modelling: any ``lab.structures.language_modeling.LanguageModel`` is trained by its own loss and measured.

Causal models predict the next token, masked ones tokens that were hidden, and whether a sentence follows another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from types import MappingProxyType
from typing import Any

from lab.compat.lightning import strategy_of
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.run_record import Direction
from lab.strategies import collectives
from lab.structures import Table, Term
from lab.structures.language_modeling import LanguageModel, LanguageSpec, Scored
from lab.structures.text import TextBatch
from lab.tasks.language_modeling.fill import Filled, HiddenBatch, fill_batch, fill_texts
from lab.tasks.language_modeling.generating import Continuation, Generation, Grow, continue_batch
from lab.tasks.language_modeling.metrics import LanguageMetrics
from lab.tasks.language_modeling.prompts import PromptBatch, Prompts, encode_prompts, prompt_loader
from lab.tasks.language_modeling.streaming import TextStream
from lab.training.task import Task

MOST_WINDOWS = 16
"""How many times as long as in training a prompt may be, where there is no table of positions."""
MOST_SAMPLES = 4
"""Samples of text that are a table of a run, beside its pictures."""


class LanguageModelingTask(Task):
    """Train and measure a language model; see ``Task`` for the arguments.

    Attributes:
        generation: how ``predict_step`` continues texts.
        grow: called with each batch of prompts and its newest tokens; None: nothing is called.
        samples: texts that were drawn for the pictures of this evaluation.

    Raises:
        ConfigError: the data is for models of another objective, or its sequences are longer than the model reads.
    """

    kind = "language_modeling"
    protocol = LanguageModel
    monitor = "val/loss"
    monitor_mode: Direction = "min"
    directions: Mapping[str, Direction] = MappingProxyType(
        {"loss": "min", "accuracy": "max", "masked_accuracy": "max", "next_sentence_accuracy": "max"}
    )
    spec: LanguageSpec
    generation = Generation()
    grow: Grow | None = None

    def make_metrics(self) -> None:
        """Make the metrics, of a network that suits the data."""
        self._check_net()
        self.samples: Table = []
        self.shown = ("perplexity",) if self.spec.objective == "causal" else ("masked_accuracy", "masked_perplexity")
        for split in ("val", "test"):
            setattr(self, f"{split}_metrics", LanguageMetrics(self.spec.objective))

    def _check_net(self) -> None:
        """Refuse a network that does not suit the data.

        Raises:
            ConfigError: it has another objective, or reads fewer tokens.
        """
        name = self.hparams["net"]["_target_"]
        if self.net.objective != self.spec.objective:
            raise ConfigError(
                f"model.net._target_={name} is a {self.net.objective} model, and the samples of this data are for "
                f"{self.spec.objective} ones"
            )
        if 0 < self.net.max_length < self.spec.max_length:
            raise ConfigError(
                f"data.max_length={self.spec.max_length}: model.net._target_={name} has positions for "
                f"{self.net.max_length} tokens"
            )

    def _metrics(self, split: str) -> LanguageMetrics:
        found: LanguageMetrics = getattr(self, f"{split}_metrics")
        return found

    def reset_metrics(self, split: str) -> None:
        """Forget all labels."""
        self._metrics(split).reset()
        self.samples = []

    def forward(self, batch: TextBatch[Any]) -> Scored:
        """Return the network's outputs, with the scores of the batch's labels."""
        outputs: Scored = self.net(
            batch.input_ids,
            batch.attention_mask,
            batch.token_type_ids,
            batch.num_tokens,
            targets=batch.targets,
        )
        return outputs

    def evaluate(self, split: str, outputs: Scored, batch: TextBatch[Any]) -> None:
        """Add the scores of a batch.

        Raises:
            RuntimeError: the network has computed no scores of the targets that it was given.
        """
        if outputs.scores is None:
            raise RuntimeError(f"{type(self.net).__name__} was given targets and has computed no scores of them")
        text = getattr(batch.targets, "text_per_label", (0.0, 0.0))
        self._metrics(split).update(outputs.scores, batch.targets.counts, batch.valid, text)

    def compute_metrics(self, split: str) -> dict[str, float]:
        """Return the figures of the metrics, and fill ``tables``.

        In a validation the loss is the network's own, of all its terms.
        """
        values = self._metrics(split).compute()
        if self.samples:
            self.tables["samples"] = self.samples[:MOST_SAMPLES]
        if split == "val":
            del values["loss"]
        return values

    def describe_pass(self, batch: TextBatch[Any], outputs: Any, terms: Mapping[str, Term] | None) -> str:
        """Return the shape of the tokens and the terms of the loss."""
        labels = sum(batch.targets.counts)
        found = "a loss that reads values" if terms is None else ", ".join(terms)
        return f"tokens {tuple(batch.input_ids.shape)}, {labels} to predict -> {found}"

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the training data.

        Raises:
            ConfigError: the data has not told it.
        """
        if not self.spec.tokenizer:
            raise ConfigError("the data of this model has told no tokenizer (TextSpec.tokenizer): texts need one")
        return TextTokenizer.from_text(self.spec.tokenizer)

    def room(self, how: Generation) -> int | None:
        """Return the most tokens that a prompt may have; None: there is no limit.

        Without a table of positions that are ``MOST_WINDOWS`` of those that the training has read: a line of 10 MB
        would fill the memory, and text that is much longer than in training is not understood.
        """
        if self.net.max_length:
            return int(self.net.max_length) - how.max_new_tokens
        return MOST_WINDOWS * self.spec.max_length if self.spec.max_length else None

    def predict_step(self, batch: PromptBatch | HiddenBatch, batch_idx: int) -> list[Continuation] | list[Filled]:
        """Return the continuations, or the hidden tokens, of a batch of texts, without those that only pad it."""
        if isinstance(batch, HiddenBatch):
            with self._gathered():
                return fill_batch(self.net, self.tokenizer, batch, self.eval_settings["top_k"])
        may_end = collectives.world_size() == 1
        with self._gathered():
            return continue_batch(self.net, self.tokenizer, batch, self.generation, may_end, self.grow)

    def _gathered(self) -> AbstractContextManager[None]:
        """Return a context in which the parameters that ``generate`` reads are whole."""
        context: AbstractContextManager[None] = getattr(strategy_of(self), "gathered_parameters", nullcontext)()
        return context

    def predict(self, inputs: Any, batch_size: int = 16, how: Generation | None = None) -> Any:
        """Return the ``Continuation`` of a prompt, or a list of them; of a masked model what ``fill_texts`` returns.

        Args:
            inputs: a text, or a list of texts.
            batch_size: texts that are continued at once.
            how: the settings; None for those of ``generate``.

        Raises:
            DataError: an input is no text; a prompt has tokens that the model does not know, or too many.
            ConfigError: the model cannot continue texts.
        """
        how, single = how or Generation(), isinstance(inputs, str)
        texts = [inputs] if single else list(inputs) if isinstance(inputs, Iterable) else [inputs]
        wrong = next((text for text in texts if not isinstance(text, str)), None)
        if wrong is not None:
            raise DataError(f"{type(wrong).__name__} is no text: predict takes a text, or a list of texts")
        if self.spec.objective == "masked":
            filled = fill_texts(self, texts, batch_size)
            return filled[0] if single else filled
        ids = encode_prompts(texts, self.tokenizer, self.room(how))
        prompts = Prompts(texts, ids, how.num_samples, max(1, len(texts) * how.num_samples))
        found: list[Continuation] = []
        with self.evaluating():
            for batch in prompt_loader(prompts, batch_size, self.tokenizer.pad_id):
                found += continue_batch(self.net, self.tokenizer, batch.to(self.device), how, True, self.grow)
        found.sort(key=lambda one: one.number)
        return found[0] if single and how.num_samples == 1 else found

    def generate(
        self,
        prompts: str | Sequence[str],
        max_new_tokens: int = 100,
        *,
        sample: bool = True,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float = 1.0,
        stop: Sequence[str] = (),
        num_samples: int = 1,
        seed: int = 0,
        batch_size: int = 16,
        stream: Callable[[str], None] | bool = False,
    ) -> Any:
        """Return a text with its continuation; for several prompts or samples a list, the samples of a prompt together.

        ``predict`` returns tokens, probabilities and why a text ended too.

        Args:
            prompts: a text, or a list of texts.
            max_new_tokens: this and the next eight are those of ``Generation``.
            sample: see there.
            temperature: see there.
            top_k: see there.
            top_p: see there.
            repetition_penalty: see there.
            stop: see there; one text, or several.
            num_samples: see there.
            seed: see there.
            batch_size: texts that are continued at once.
            stream: show a text as it grows: True prints it, a function is called with what is added. One text only.

        Raises:
            DataError: a prompt has tokens that the model does not know, or too many.
            ConfigError: a setting is out of its range, or the model cannot continue texts.
        """
        if self.spec.objective == "masked":
            raise ConfigError("a masked model continues no texts: predict fills the hidden words of one ([MASK])")
        stop = [stop] if isinstance(stop, str) else list(stop)
        chosen = (sample, temperature, top_k, top_p, repetition_penalty, stop, num_samples, seed)
        how = Generation(max_new_tokens, *chosen)
        if stream is False:
            found = self.predict(prompts, batch_size, how)
        else:
            found = self._streamed(prompts, how, None if stream is True else stream)
        return str(found) if isinstance(found, Continuation) else [str(one) for one in found]

    def _streamed(self, prompt: Any, how: Generation, write: Callable[[str], None] | None) -> Continuation:
        if not isinstance(prompt, str) or how.num_samples != 1:
            raise ConfigError("stream shows one text: give one prompt, and num_samples=1")
        stream = TextStream(self.tokenizer, how.stop, write, behind=bool(prompt))
        stream.write(prompt)
        self.grow = lambda batch, tokens: stream.add(tokens[0])
        try:
            found: Continuation = self.predict(prompt, 1, how)
        finally:
            self.grow = None
        stream.finish(found.text)
        return found
