"""The data of causal language models as a whole: splits, tokenizers, the spec, resuming."""

from dataclasses import replace
from pathlib import Path

import datasets
import pytest
import torch

from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.tasks.language_modeling.data.causal import CausalTextModule


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def make(**values):
    return CausalTextModule(
        **{"max_length": 16, "batch_size": 8, "num_train": 30, "num_val": 5, "num_test": 5} | values
    )


def test_generated_text_with_a_trained_tokenizer():
    data = make(vocab_size=300)
    spec = data.spec
    assert (spec.vocab_size, spec.max_length, spec.objective, spec.task) == (300, 16, "causal", "language_modeling")
    tokenizer = TextTokenizer.from_text(spec.tokenizer)
    batch = data.first_batch()
    assert batch.input_ids.shape == (8, 16)
    assert (batch.input_ids[:, 1:] == batch.targets.labels[:, :-1]).all()
    assert tokenizer.decode(batch.input_ids[0].tolist()).isascii()
    assert spec.num_tokens == data.tables()["data"][0]["tokens"]
    assert [row["documents"] for row in data.tables()["data"]] == [30, 5, 5]
    assert data.fingerprint() == make(vocab_size=300).fingerprint() != make(vocab_size=290).fingerprint()


def test_a_resumed_run_reads_the_batches_that_were_left():
    data = make(windows="random", vocab_size=300)
    data.plan = replace(data.plan, max_steps=2 * data.steps_per_epoch() + 3)
    whole = list(data.train_dataloader())
    middle = data.steps_per_epoch() + data.steps_per_epoch() // 2
    again = make(windows="random", vocab_size=300)
    again.plan = replace(data.plan, start_step=middle)
    rest = list(again.train_dataloader())
    assert len(rest) == len(whole) - middle
    for first, second in zip(whole[middle:], rest, strict=True):
        assert torch.equal(first.input_ids, second.input_ids)
    other_epoch = torch.stack([whole[0].input_ids, whole[data.steps_per_epoch()].input_ids])
    assert not torch.equal(other_epoch[0], other_epoch[1])


def test_two_ranks_read_what_one_reads():
    data = make(vocab_size=300)
    data.plan = replace(data.plan, max_steps=3)
    whole = [batch.input_ids for batch in data.train_dataloader()]
    parts = []
    for rank in (0, 1):
        data.plan = replace(data.plan, rank=rank, world_size=2)
        parts.append([batch.input_ids for batch in data.train_dataloader()])
    assert all(torch.equal(torch.cat(pair), one) for *pair, one in zip(*parts, whole, strict=True))


def test_files_are_cut_as_nanogpt_does(tmp_path):
    (tmp_path / "input.txt").write_text("abcdefghij" * 10)
    data = make(
        root=str(tmp_path), files="input.txt", tokenizer="characters", test_share=0.05, max_length=4, batch_size=2
    )
    assert data.spec.vocab_size == 10
    assert data.spec.num_tokens == 85
    assert [row["characters"] for row in data.tables()["data"]] == [85, 10, 5]
    assert data.text_tokenizer.special.end_of_text is None
    without = make(root=str(tmp_path), files="input.txt", tokenizer="characters", max_length=4, batch_size=2)
    assert [row["characters"] for row in without.tables()["data"]] == [90, 10, 10]


def test_files_of_each_split_and_json_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": "one two"}\n{"body": "three"}\n')
    (tmp_path / "b.txt").write_text("four?")
    data = make(
        root=str(tmp_path), files=["*.jsonl"], val_files="b.txt", column="body", tokenizer="characters", max_length=3
    )
    assert [row["documents"] for row in data.tables()["data"]] == [2, 1, 1]
    assert data.text_tokenizer.special.end_of_text == 0
    assert data.text_tokenizer.encode("?") != []  # characters are those of all splits


def test_a_dataset_of_the_hub_in_a_folder(tmp_path):
    rows = datasets.Dataset.from_dict({"text": [f"text number {number}" for number in range(40)]})
    rows.save_to_disk(str(tmp_path / "set"))
    data = make(path=str(tmp_path / "set"), tokenizer="characters", max_length=8)
    assert data.tables()["data"][0]["documents"] + data.tables()["data"][1]["documents"] == 40


def test_a_checkpoints_tokenizer_is_followed():
    trained = make(vocab_size=300)
    other = make(vocab_size=290)
    _ = other.spec
    other.follow(trained.spec)
    assert other.spec.tokenizer == trained.spec.tokenizer
    assert other.spec.vocab_size == 300


def test_input_files_are_measured_as_the_validation_text_is(tmp_path):
    (tmp_path / "in.txt").write_text("The farmer sold the red cow in the barn.\n" * 3)
    data = make(vocab_size=300)
    windows = data.build_inputs([tmp_path / "in.txt"])
    tokens = [label for number in range(len(windows)) for label in windows[(0, number)].labels.tolist() if label > 0]
    assert data.text_tokenizer.decode(tokens) == (tmp_path / "in.txt").read_text()


def test_unknown_tokens_are_counted_and_said(tmp_path, caplog):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[SEP]\none\n##s\n")
    (tmp_path / "a.txt").write_text("one ones two one one one one ones one three one")
    data = make(
        root=str(tmp_path), files="a.txt", val_files="a.txt", tokenizer=str(tmp_path / "vocab.txt"), max_length=4
    )
    _ = data.tables()
    assert "2 of its 15 tokens are unknown to the tokenizer" in caplog.text


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"path": "x/y", "files": "a.txt"}, ConfigError, "^data.path=x/y and data.files=a.txt: give one of them$"),
        ({"val_files": "a.txt"}, ConfigError, "need data.files"),
        ({"eval_stride": 17}, ConfigError, "^data.eval_stride=17: should be from 1 to data.max_length=16$"),
        ({"files": "no.txt"}, DataError, "^data.files=no.txt: no such file or folder$"),
        ({"vocab_size": 100}, ConfigError, "^vocab_size=100: should be at least 257$"),
        ({"tokenizer": "no.json"}, DataError, "^no.json: no such file; a tokenizer is vocab.txt, tokenizer.json"),
        ({"max_length": 100_000}, DataError, "too few for windows of data.max_length=100000"),
    ],
)
def test_bad_settings_are_refused_in_one_line(values, error, message):
    with pytest.raises(error, match=message) as caught:
        make(**values).first_batch()
    assert "\n" not in str(caught.value)


def test_tiny_shakespeare_as_nanogpt_prepares_it():
    import os

    root = Path(os.environ.get("LAB_DATA_DIR", "data"), "tinyshakespeare")
    if not (root / "input.txt").is_file():
        pytest.skip(f"no {root}/input.txt")
    data = make(root=str(root), files="input.txt", tokenizer="characters", max_length=64)
    assert data.spec.vocab_size == 65
    assert [row["tokens"] for row in data.tables()["data"]] == [1_003_854, 111_540, 111_540]  # as nanoGPT prints them
