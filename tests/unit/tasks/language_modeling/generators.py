"""A small BLOOM over characters, with weights that are computed, for tests of generation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import torch

from lab.data.datamodule import LoadPlan
from lab.data.text.tokenizer import TextTokenizer
from lab.structures.language_modeling import LanguageSpec
from lab.tasks.language_modeling.task import LanguageModelingTask
from tests.unit.tasks.language_modeling.makers import EVAL, OPTIMIZER, SCHEDULER

SYMBOLS = "abcdefgh .\n"
NET = {"_target_": "bloom_tiny", "embed_dim": 16, "num_layers": 2, "num_heads": 2, "feedforward_dim": 16}
SETTINGS: dict[str, Any] = {
    "max_new_tokens": 12,
    "sample": True,
    "temperature": 1.0,
    "top_k": None,
    "top_p": None,
    "repetition_penalty": 1.0,
    "stop": [],
    "num_samples": 1,
    "seed": 0,
    "stream": None,
}


def make_generator(special: tuple[str, ...] = (), **net: Any) -> LanguageModelingTask:
    """Return a task whose network continues texts in a varied way."""
    tokenizer = TextTokenizer.characters(SYMBOLS, special)
    spec = LanguageSpec(tokenizer=tokenizer.to_text(), vocab_size=tokenizer.vocab_size, max_length=16)
    arguments = (NET | net, spec.to_plain(), OPTIMIZER, SCHEDULER, 4, EVAL)
    task = LanguageModelingTask(*arguments).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in task.net.named_parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (1.0 if "word" in name else 0.5))
    return task


def make_data(batch_size: int = 2, rank: int = 0, world_size: int = 1) -> Any:
    """Return what a predictor reads of its data."""
    return SimpleNamespace(batch_size=batch_size, plan=LoadPlan(rank=rank, world_size=world_size))


def make_trainer(callbacks: list[pl.Callback], progress: bool = True) -> pl.Trainer:
    """Return a Trainer on the CPU that shows nothing."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return pl.Trainer(
        accelerator="cpu", devices=1, callbacks=callbacks, logger=False, use_distributed_sampler=False, **quiet
    )
