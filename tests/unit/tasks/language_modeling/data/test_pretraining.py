"""Data for masked language models: samples from files, resumes, ranks, held-out documents, and mistakes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.data.datamodule import LoadPlan
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.structures.language_modeling import LanguageSpec
from lab.tasks.language_modeling.data.corpus import Corpus, SentenceFiles, read_corpus
from lab.tasks.language_modeling.data.pretraining import PretrainingDataModule
from tests.unit.tasks.language_modeling.data.golden_pairs import CLS, GOLDEN, MASK, SEP, three_documents

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """The golden documents as a text file, and their vocabulary: ``w5`` is the token 5."""
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, *(f"w{number}" for number in range(5, 60))]) + "\n")
    documents = three_documents()
    lines: list[str] = []
    for bounds in documents.places:
        for begin, end in pairwise(bounds):
            lines.append(" ".join(f"w{token}" for token in documents.tokens[begin:end]))
        lines.append("")
    (tmp_path / "text.txt").write_text("\n".join(lines))
    path = str(tmp_path / "text.txt")
    return {"files": path, "val_files": path, "test_files": path, "tokenizer": str(tmp_path / "vocab.txt")}


def golden_module(files: dict[str, Any], **changes: Any) -> PretrainingDataModule:
    """Return the data that the golden samples are of."""
    settings = {"seed": 12345, "max_length": 16, "dupe_factor": 1, "max_predictions": 4, "masking": "static"}
    return PretrainingDataModule(**{**settings, "batch_size": 2, **files, **changes})


def test_samples_of_a_file_equal_the_published_ones(files: dict[str, Any]) -> None:
    """From text to samples: every id, segment, position, label, and the order."""
    dataset = golden_module(files).dataset("train")
    assert len(dataset) == len(GOLDEN[False])
    for index, (ids, first_length, positions, labels, random_next) in enumerate(GOLDEN[False]):
        one = dataset[(0, index)]
        assert (one.ids, one.first_length, one.positions, one.labels) == (ids, first_length, positions, labels)
        assert one.random_next == random_next
        assert dataset[(7, index)] == one, "static masks do not depend on the epoch"


def test_a_batch(files: dict[str, Any]) -> None:
    module = golden_module(files)
    dataset = module.dataset("train")
    batch = module.collate([dataset[(0, 0)], dataset[(0, 1)]])
    (short, _, first, first_labels, _), (long, _, second, second_labels, _) = GOLDEN[False][:2]
    assert batch.input_ids.tolist() == [short + [0] * 4, long]
    assert batch.attention_mask is not None
    assert batch.attention_mask.tolist() == [[True] * 12 + [False] * 4, [True] * 16]
    assert batch.token_type_ids is not None
    assert batch.token_type_ids.tolist() == [[0] * 8 + [1] * 4 + [0] * 4, [0] * 4 + [1] * 12]
    assert batch.targets.positions.tolist() == first + second
    assert batch.targets.labels.tolist() == first_labels + second_labels
    assert batch.targets.counts == (2, 2)
    assert batch.targets.next_sentence is not None
    assert batch.targets.next_sentence.tolist() == [0, 1]
    assert batch.lengths == (12, 16)


def test_dynamic_masks_are_a_function_of_seed_epoch_and_index(files: dict[str, Any]) -> None:
    """Hidden places change from epoch to epoch; what stands there does not."""
    one, again = (golden_module(files, masking="dynamic").dataset("train") for _ in range(2))
    other = golden_module(files, masking="dynamic", seed=4).dataset("train")
    assert [one[(1, index)] for index in range(len(one))] == [again[(1, index)] for index in range(len(again))]
    epochs = {tuple(one[(epoch, 1)].positions) for epoch in range(20)}
    assert len(epochs) > 5
    whole = set()
    for epoch in range(20):
        sample = one[(epoch, 1)]
        ids = list(sample.ids)
        for position, label in zip(sample.positions, sample.labels, strict=True):
            ids[position] = label
        whole.add(tuple(ids))
        assert (ids[0], ids[-1], ids[sample.first_length - 1]) == (CLS, SEP, SEP)
        assert MASK not in ids
    assert len(whole) == 1
    assert [other[(1, index)] for index in range(len(other))] != [one[(1, index)] for index in range(len(one))]


def test_lone_texts_have_no_pairs_to_tell(files: dict[str, Any]) -> None:
    """``[CLS] text [SEP]``, each token of the corpus in one sample, and no targets of pairs."""
    module = golden_module(files, pairs=False, short_seq_prob=0.0)
    dataset = module.dataset("train")
    whole: list[int] = []
    for index in range(len(dataset)):
        sample = dataset[(0, index)]
        ids = list(sample.ids)
        for position, label in zip(sample.positions, sample.labels, strict=True):
            ids[position] = label
        assert (ids[0], ids[-1], sample.first_length, sample.random_next) == (CLS, SEP, len(ids), None)
        assert SEP not in ids[:-1]
        whole += ids[1:-1]
    assert sorted(whole) == sorted(three_documents().tokens)
    batch = module.collate([dataset[(0, 0)], dataset[(0, 1)]])
    assert batch.targets.next_sentence is None
    assert batch.token_type_ids is None
    assert "texts" in module.tables()["data"][0]


def test_four_of_five_hidden_tokens_become_the_mask() -> None:
    """Of 10,000 hidden tokens: 80 % are masks, and of the rest one half is kept, within four deviations."""
    dataset = PretrainingDataModule(num_documents=300, dupe_factor=2).dataset("train")
    found = {"mask": 0, "kept": 0, "random": 0}
    for index in range(800):
        sample = dataset[(0, index)]
        for position, label in zip(sample.positions, sample.labels, strict=True):
            token = sample.ids[position]
            found["mask" if token == dataset.rules.mask else "kept" if token == label else "random"] += 1
    total = sum(found.values())
    assert total > 5000
    for name, share in (("mask", 0.8), ("kept", 0.1), ("random", 0.1)):
        assert abs(found[name] / total - share) < 4 * (share * (1 - share) / total) ** 0.5, found


def test_whole_words_are_hidden_together(tmp_path: Path) -> None:
    """All words are of two pieces; with 4 of 27 tokens hidden, they are two whole words."""
    vocabulary = [*SPECIAL, *(f"w{number}" for number in range(10)), *(f"##x{number}" for number in range(10))]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    line = " ".join(f"w{number}x{number}" for number in range(6))
    (tmp_path / "text.txt").write_text(f"{line}\n{line}\n\n" * 3)
    path = str(tmp_path / "text.txt")
    module = PretrainingDataModule(
        files=path, val_files=path, test_files=path, tokenizer=str(tmp_path / "vocab.txt"), whole_words=True,
        max_length=27, short_seq_prob=0.0, batch_size=1,
    )  # fmt: skip
    dataset = module.dataset("train")
    for index in range(len(dataset)):
        sample = dataset[(0, index)]
        assert len(sample.ids) == 27
        pairs = list(zip(sample.positions[::2], sample.positions[1::2], strict=True))
        assert len(pairs) == 2
        assert all(second == first + 1 for first, second in pairs)
        assert [label < 15 for label in sample.labels] == [True, False, True, False]


def stream(module: PretrainingDataModule, **plan: int) -> list[Any]:
    """Return the micro-batches of a plan."""
    module.plan = LoadPlan(**plan)
    return list(module.train_dataloader())


def test_a_resume_within_an_epoch_and_two_ranks_read_the_same_samples() -> None:
    """Steps 5 to 9 of a run that begins there, and both halves of each batch on two ranks, equal those of one run."""
    module = PretrainingDataModule(num_documents=40, dupe_factor=1, batch_size=8, seed=3)
    per_epoch = module.steps_per_epoch()
    assert 4 < per_epoch < 30
    start, stop = per_epoch - 3, per_epoch + 3  # over the end of an epoch
    whole = stream(module, max_steps=stop)
    resumed = stream(module, max_steps=stop, start_step=start)
    assert len(resumed) == 6
    for one, other in zip(whole[start:], resumed, strict=True):
        assert torch.equal(one.input_ids, other.input_ids)
        assert torch.equal(one.targets.labels, other.targets.labels)
    ranks = [stream(module, max_steps=stop, rank=rank, world_size=2) for rank in range(2)]
    for one, *halves in zip(whole, *ranks, strict=True):
        assert one.sample_ids.tolist() == [number for half in halves for number in half.sample_ids.tolist()]
        assert one.targets.labels.tolist() == [label for half in halves for label in half.targets.labels.tolist()]
        assert one.targets.positions.tolist() == [place for half in halves for place in half.targets.positions.tolist()]
        rows = [row for half in halves for row in half.input_ids.tolist()]
        width = max(map(len, rows))
        assert one.input_ids.tolist() == [row + [0] * (width - len(row)) for row in rows]


def test_tokens_in_several_files_are_those_of_one(files: dict[str, Any]) -> None:
    """A file of tokens may end within a sentence."""
    source = SentenceFiles((Path(files["files"]),))
    tokenizer = TextTokenizer.load(files["tokenizer"])
    whole, cut = read_corpus(source, tokenizer), read_corpus(source, tokenizer, shard=7)
    assert len(list(cut.folder.glob("tokens-*.bin"))) == 7  # 46 tokens
    documents = three_documents()
    assert whole.read(0, 46) == cut.read(0, 46) == documents.tokens
    assert [cut.bounds(number) for number in range(3)] == documents.places


def test_documents_are_held_out() -> None:
    """5 % of 40 documents each; every document is in one part, and the parts do not depend on the seed."""
    modules = [PretrainingDataModule(num_documents=40, seed=seed, batch_size=4) for seed in (0, 1)]
    parts = {split: modules[0].corpus(split) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 36, "val": 2, "test": 2}
    begins = sorted(part.bounds(number)[0] for part in parts.values() for number in range(len(part)))
    everything = Corpus(parts["train"].folder)
    assert begins == [everything.bounds(number)[0] for number in range(40)]
    for split in ("val", "test"):
        first, second = (module.dataset(split) for module in modules)
        assert [first[(0, index)] for index in range(len(first))] == [
            second[(0, index)] for index in range(len(second))
        ]


def test_the_specification_stands_alone(files: dict[str, Any]) -> None:
    """It has the whole tokenizer, and data follows that of a checkpoint."""
    spec = golden_module(files).spec
    assert (spec.objective, spec.vocab_size, spec.max_length, spec.num_tokens) == ("masked", 60, 16, 46)
    other = PretrainingDataModule(num_documents=10, batch_size=1)
    other.follow(LanguageSpec.from_plain(spec.to_plain()))
    assert other.spec.tokenizer == spec.tokenizer
    assert other.dataset("train").rules.vocab_size == 60


def test_fingerprints_differ_with_what_samples_depend_on(files: dict[str, Any]) -> None:
    prints = [golden_module(files).fingerprint(), golden_module(files, masking="dynamic").fingerprint()]
    prints += [golden_module(files, seed=1).fingerprint(), golden_module(files, max_predictions=3).fingerprint()]
    Path(files["files"]).write_text("w5 w6\nw7\n")
    prints.append(golden_module(files).fingerprint())
    assert len(set(prints)) == 5
    assert golden_module(files).fingerprint() == prints[-1]


def test_a_single_document_is_its_own_random_text(files: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """As in the published file; said once. A document of a single sentence is paired with itself."""
    Path(files["files"]).write_text("w5 w6 w7\n")
    sample = golden_module(files, batch_size=1).dataset("train")[(0, 0)]
    assert (len(sample.ids), sample.random_next) == (9, True)
    assert "has one document" in caplog.text


@pytest.mark.parametrize(
    ("changes", "content", "message"),
    [
        ({"val_files": None}, "w5\n", "has one document, so none can be held out"),
        ({}, "\n \n", "there is no text in it"),
        ({}, "", "is empty"),
        ({"tokenizer": "{tmp}/vocab.bad"}, "w5\n", r"lacks \[CLS\], \[MASK\]; masked language models need"),
        ({"val_files": None, "val_share": None}, "w5\n", "data.val_share=null: give the share"),
        ({"max_length": 4}, "w5\n", "max_length=4: should be at least 5"),
        ({"files": None}, "w5\n", "data.val_files needs data.files"),
        ({"layout": "sentences"}, "w5\n", "data.layout='sentences': should be one of lines"),
        ({"files": "absent.txt"}, "w5\n", "no such file"),
    ],
)
def test_mistakes_are_one_line(
    files: dict[str, Any], tmp_path: Path, changes: dict[str, Any], content: str, message: str
) -> None:
    (tmp_path / "vocab.bad").write_text("[PAD]\n[UNK]\n[SEP]\nw5\n")
    Path(files["files"]).write_text(content)
    if "tokenizer" in changes:
        changes = {"tokenizer": changes["tokenizer"].format(tmp=tmp_path)}
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        golden_module({**files, "root": str(tmp_path), **changes}).dataset("val")
    assert "\n" not in str(caught.value)
