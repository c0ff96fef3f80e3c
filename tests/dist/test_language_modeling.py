"""A language model trains, is measured and continues texts alike on one rank and on two."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.loggers.metrics_file import read_metrics
from lab.strategies.build import make_strategy
from lab.tasks.language_modeling.predict import LanguagePredictor
from tests.dist import harness
from tests.dist.plain import make_trainer
from tests.distributed import run_distributed
from tests.unit.tasks.language_modeling.generators import SETTINGS, make_data, make_generator

SMALL = (
    "model=bloom_tiny",
    "model.net.embed_dim=16",
    "model.net.num_layers=1",
    "data=text",
    "data.tokenizer=characters",
    "data.max_length=16",
    "data.batch_size=8",
    "data.num_train=20",
    "data.num_val=3",
    "data.num_test=2",
    "trainer=cpu",
    "trainer.precision=64",
    "trainer.max_steps=4",
    "trainer.val_every_n_steps=2",
    "trainer.log_every_n_steps=1",
    "logger=csv",
    "callbacks.progress=false",
    "callbacks.pictures=0",
)
PROMPTS = ("abc", "h", "dead beef.", "a", "cab", "fade", "bed")


def predict(rank: int, ranks: int, folder: str) -> None:
    """Continue the prompts; two ranks hold half of each parameter."""
    task = make_generator(("<|endoftext|>",))
    strategy = None
    if ranks > 1:
        options = {"reduce_dtype": "32", "cpu_offload": False, "activation_checkpointing": False}
        strategy = make_strategy({"name": "fsdp", "reshard_after_forward": True, **options})
    groups = {"generation": SETTINGS | {"stop": ["."], "num_samples": 2, "max_new_tokens": 30}}
    made: Any = LanguagePredictor(f"{folder}/prompts.txt", task, make_data(4, rank, ranks), groups)

    def trainer(callbacks: Any, progress: bool = True) -> Any:
        return make_trainer(strategy, rank, ranks, callbacks=callbacks, inference_mode=False)

    with redirect_stdout(io.StringIO()):
        made.run(trainer, Path(folder) / f"out-{ranks}", rank)


def on_two(rank: int, folder: str) -> Path:
    predict(rank, 2, folder)
    words = ("strategy=ddp", "trainer.accumulate_grad_batches=2")
    return harness.fit(words, Path(folder) / "both", rank, 2, base=SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prompts, what two ranks have made of them, and their run."""
    found = tmp_path_factory.mktemp("language")
    (found / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    runs = run_distributed(on_two, 2, (str(found),))
    (found / "run").symlink_to(runs[0])
    return found


def test_losses_and_metrics_on_two_ranks_and_on_two_devices_of_one_process(folder: Path, tmp_path: Path) -> None:
    alone = harness.fit((), tmp_path / "alone", base=SMALL)
    threads = harness.fit(("strategy=dp", "trainer.devices=2"), tmp_path / "dp", base=SMALL)
    expected, last = harness.losses(alone), read_metrics(alone)[-1]
    assert len(expected) == 4
    names = {"loss", "perplexity", "accuracy", "bits_per_byte", "word_perplexity"}
    assert {f"{split}/{name}" for split in ("val", "test") for name in names} <= set(last)
    for run in (folder / "run", threads):
        assert harness.worst_relative(harness.losses(run), expected) < 1e-6  # they are logged in float32
        for key, value in harness.weights(alone).items():
            torch.testing.assert_close(harness.weights(run)[key], value, rtol=0, atol=1e-12)
        found = read_metrics(run)[-1]
        for key in last:
            if key.startswith(("val/", "test/")):
                assert found[key] == pytest.approx(last[key], rel=1e-6), key


def test_texts_on_two_ranks_are_those_of_one(folder: Path) -> None:
    predict(0, 1, str(folder))
    both, alone = (folder / f"out-{ranks}" / "predictions.jsonl" for ranks in (2, 1))
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in (both, alone)]
    assert [row["prompt"] for row in rows[1]] == [prompt for prompt in PROMPTS for _ in range(2)]
    assert {row["stopped"] for row in rows[1]} == {"length", "stop", "end_of_text"}
    for mine, other in zip(*rows, strict=True):
        assert mine.pop("logprob") == pytest.approx(other.pop("logprob"), abs=1e-3)
        assert mine == other
