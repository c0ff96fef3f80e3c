"""From text to a trained model that writes: fit, stage=predict and lab.load, as a user runs them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import lab
from lab.errors import ConfigError, DataError

WORDS = (
    "model=bloom_tiny",
    "model.net.embed_dim=16",
    "model.net.num_layers=1",
    "data=text",
    "data.tokenizer=characters",
    "data.max_length=16",
    "data.batch_size=8",
    "data.num_train=20",
    "data.num_val=2",
    "data.num_test=2",
    "trainer=cpu",
    "trainer.max_steps=2",
    "trainer.val_every_n_steps=2",
    "logger=csv",
    "callbacks.progress=false",
    "callbacks.pictures=3",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lab.Run:
    return lab.fit(*WORDS, f"paths.runs_dir={tmp_path_factory.mktemp('runs')}")


def test_a_run_keeps_samples_of_its_text(run: lab.Run) -> None:
    assert run.record["monitor"] == "val/loss"
    assert {"test/loss", "test/perplexity", "test/bits_per_byte"} <= set(run.record["lower_is_better"])
    assert [path.name for path in run.pictures] == ["test-000.png", "test-001.png", "test-002.png", "test.png"]
    with (run.path / "tables" / "samples.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [len(row["text"]) for row in rows] == [8, 8, 8]
    assert rows[0]["prompt"].startswith("<|endoftext|>")  # what stands before a text
    assert [len(row["prompt"]) for row in rows[1:]] == [8, 8]
    assert any(row["continuation"] for row in rows)


def test_a_file_of_prompts_is_continued_in_the_runs_own_folder(run: lab.Run, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("The cook\nOn Sunday\n")
    folder = lab.predict(run, tmp_path / "prompts.txt", "generation.max_new_tokens=5", "generation.seed=3")
    assert folder == run.path / "predict-best"
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    texts = lab.load(run).generate(["The cook", "On Sunday"], max_new_tokens=5, seed=3)
    assert [row["prompt"] + row["continuation"] for row in rows] == texts
    assert [len(row["tokens"]) for row in rows] == [5, 5]


def test_mistakes_are_one_line(run: lab.Run, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("The cook\n\u00df\n")
    with pytest.raises(DataError, match=r"^input=.*: prompt 2 \('\u00df'\): .*$"):
        lab.predict(run, tmp_path / "prompts.txt")
    with pytest.raises(ConfigError, match=r"^generation\.max_tokens=5: unknown key 'max_tokens' in generation"):
        lab.predict(run, tmp_path / "prompts.txt", "generation.max_tokens=5")
