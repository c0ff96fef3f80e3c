"""Hidden words: which texts are filled, what of a long one is read, and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.tasks.language_modeling.data.pretraining import PretrainingDataModule
from lab.tasks.language_modeling.fill import Filled, Guess, fill_batch, find_hidden, hidden_loader
from lab.tasks.language_modeling.predict import LanguagePredictor
from lab.tasks.language_modeling.task import LanguageModelingTask
from tests.unit.tasks.language_modeling.generators import SETTINGS

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "dog", "sat", "ran", "##s", "."]
PAD, UNK, CLS, SEP, MASK = range(5)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("\n".join(WORDS))
    return TextTokenizer.load(path)


class NextWord(nn.Module):
    """Says with certainty that each hidden token is the one after that of its left neighbour; the next one is half."""

    def fill(
        self,
        input_ids: Tensor,
        rows: Tensor,
        positions: Tensor,
        attention_mask: Tensor | None = None,
        num_tokens: int | None = None,
    ) -> Tensor:
        left = input_ids[rows, positions - 1]
        logits = torch.full((len(rows), len(WORDS)), -20.0)
        logits[torch.arange(len(rows)), left + 1] = 0.0
        logits[torch.arange(len(rows)), left + 2] = -torch.log(torch.tensor(2.0))
        return logits


def test_texts_are_filled(tokenizer: TextTokenizer) -> None:
    """Two thirds and one third, in the order of the texts; a continued word joins the one before it."""
    texts = ["the [MASK] sat .", "nothing", "[MASK] dog ran[MASK] ."]
    hidden, cut = find_hidden(texts, tokenizer, 10)
    assert cut == 0
    assert [(one.number, one.ids, one.positions) for one in hidden] == [
        (0, [CLS, 5, MASK, 8, 11, SEP], [2]),
        (2, [CLS, MASK, 7, 9, MASK, 11, SEP], [1, 4]),
    ]
    (batch,) = hidden_loader(hidden, 4, tokenizer.pad_id)
    found = fill_batch(NextWord(), tokenizer, batch, 2)
    assert [one.number for one in found] == [0, 2]
    assert [guess.token for guess in found[0].guesses[0]] == ["cat", "dog"]
    assert [guess.probability for guess in found[0].guesses[0]] == pytest.approx([2 / 3, 1 / 3])
    assert [[guess.token for guess in each] for each in found[1].guesses] == [["[SEP]", "[MASK]"], ["##s", "."]]
    assert str(found[0]) == "the cat sat ."
    assert str(found[1]) == "[SEP] dog rans ."


def test_a_long_text_is_read_around_its_hidden_words(tokenizer: TextTokenizer) -> None:
    """Of 30 tokens 8 fit beside [CLS] and [SEP]: as many at both sides, or those at the end."""
    words = ["cat", "dog", "sat", "ran", "."] * 6
    middle, end = list(words), list(words)
    middle[15], end[29] = "[MASK]", "[MASK]"
    hidden, cut = find_hidden([" ".join(middle), " ".join(end)], tokenizer, 10)
    assert cut == 2
    ids = [tokenizer.encode_marked(" ".join(text)) for text in (middle, end)]
    assert hidden[0].ids == [CLS, *ids[0][12:20], SEP]
    assert hidden[1].ids == [CLS, *ids[1][22:], SEP]
    assert [one.ids[one.positions[0]] for one in hidden] == [MASK, MASK]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["the cat", "ran"], r"2 texts and no \[MASK\] in them"),
        (["ran", "[MASK] " + "cat " * 8 + "[MASK]"], "text 2 .* 10 tokens apart, and the model reads 8 at once"),
    ],
)
def test_texts_that_cannot_be_filled(tokenizer: TextTokenizer, texts: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_hidden(texts, tokenizer, 10)


def test_a_tokenizer_without_hidden_tokens() -> None:
    with pytest.raises(DataError, match=r"has no \[MASK\], \[CLS\] and \[SEP\]"):
        find_hidden(["a"], TextTokenizer.characters("ab"), 10)


def test_a_network_that_fills_nothing(tokenizer: TextTokenizer) -> None:
    (batch,) = hidden_loader(find_hidden(["[MASK]"], tokenizer, 10)[0], 4, 0)
    with pytest.raises(ConfigError, match="Linear fills no hidden words"):
        fill_batch(nn.Linear(1, 1), tokenizer, batch, 2)


def test_texts_are_joined_where_a_word_goes_on() -> None:
    one = Filled(0, "He is play [MASK] ,[MASK]", "[MASK]", ((Guess("##ing", 0.5),), (Guess("yes", 0.5),)))
    assert str(one) == "He is playing ,yes"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModelingTask, PretrainingDataModule]:
    """A tiny untrained BERT and its generated data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        data = PretrainingDataModule(num_documents=30, max_length=16, batch_size=2)
        spec = data.spec
    net = {"_target_": "bert_tiny", "max_length": 16}
    settings: dict[str, Any] = {"name": "language_modeling", "top_k": 3}
    adam = {"name": "adam", "lr": 1e-3, "weight_decay": 0.0, "betas": [0.9, 0.999], "eps": 1e-8, "amsgrad": False}
    scheduler = {"name": "constant", "warmup_steps": 0}
    return LanguageModelingTask(net, spec.to_plain(), adam, scheduler, 1, settings), data


def test_bert_fills_what_its_head_says(trained: tuple[LanguageModelingTask, PretrainingDataModule]) -> None:
    """The same probabilities as the logits of all places, with padding and without."""
    task = trained[0]
    texts = ["The [MASK] sold the goat .", "[MASK] baked [MASK]"]
    found = task.predict(texts)
    task.eval()
    for text, one in zip(texts, found, strict=True):
        hidden = find_hidden([text], task.tokenizer, 16)[0][0]
        with torch.no_grad():
            logits = task.net(torch.tensor([hidden.ids])).mlm_logits[0, hidden.positions]
        top = logits.softmax(-1).topk(3)
        assert [[guess.token for guess in each] for each in one.guesses] == [
            [task.tokenizer.id_to_token(token) for token in row] for row in top.indices.tolist()
        ]
        assert [[guess.probability for guess in each] for each in one.guesses] == [
            pytest.approx(row, abs=1e-6) for row in top.values.tolist()
        ]
    assert str(task.predict(texts[0])) == str(found[0])
    with pytest.raises(DataError, match=r"text 2 \('no'\) has no \[MASK\]"):
        task.predict([texts[0], "no"])


def test_stage_predict_writes_and_prints(
    trained: tuple[LanguageModelingTask, PretrainingDataModule],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Texts without a hidden word, and long ones, are counted."""
    import lightning.pytorch as pl

    task, data = trained
    lines = ["The [MASK] sold the goat.", "no hidden word", "the cow " * 20 + "[MASK]", "[MASK] slept."]
    (tmp_path / "texts.txt").write_text("\n".join(lines))

    def make_trainer(callbacks: list[pl.Callback]) -> pl.Trainer:
        return pl.Trainer(
            accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=callbacks,
        )  # fmt: skip

    (tmp_path / "out").mkdir()
    groups = {"generation": SETTINGS}
    LanguagePredictor(str(tmp_path / "texts.txt"), task, data, groups).run(make_trainer, tmp_path / "out", 0)
    records = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [record["text"] for record in records] == [lines[0], lines[2].strip(), lines[3]]
    assert [len(record["masks"]) for record in records] == [1, 1, 1]
    assert all(len(guesses) == 3 for record in records for guesses in record["masks"])
    assert set(records[0]["masks"][0][0]) == {"token", "probability"}
    printed = capsys.readouterr().out
    assert printed.startswith("note: generation.* is for causal models; a masked one fills hidden words (eval.top_k)\n")
    assert records[0]["filled"] in printed
    assert "3 texts; 1 without a hidden word left out; 1 longer than the model reads" in printed
