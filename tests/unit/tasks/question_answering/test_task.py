"""The task: its loss by hand, whole evaluations, answers to a caller's questions, stages from Python."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import lab
from lab.data.text.generated import questions
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.structures.question_answering import AnsweringBatch
from lab.tasks.question_answering.data.module import QuestionsDataModule
from lab.tasks.question_answering.data.squad import read_predictions, read_questions
from lab.tasks.question_answering.data.windows import AnswerWindows, collate_windows
from lab.tasks.question_answering.predict import JsonObject
from lab.tasks.question_answering.scoring import score
from lab.tasks.question_answering.settings import conflict
from lab.tasks.question_answering.task import AnsweringTask
from lab.training.terms import divided
from tests.unit.tasks.question_answering.makers import make_task
from tests.unit.tasks.question_answering.squad_files import golden_tokenizer, golden_windows, qa, squad, write

GOLDEN = json.loads((Path(__file__).parent / "run_squad.json").read_text())


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    """The tokenizer of the golden file."""
    return golden_tokenizer(GOLDEN, tmp_path)


def batch_of(windows: AnswerWindows, rows: range) -> AnsweringBatch:
    """Return some windows as a batch."""
    return collate_windows([windows[0, row] for row in rows], 0)


def losses(task: AnsweringTask, batch: AnsweringBatch) -> dict[str, float]:
    """Return the terms of the loss as sums."""
    return {name: float(term.sum.detach()) for name, term in task.terms(batch)[1].items()}


def test_the_loss_by_hand(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    """Half the mean of each end's -log softmax over a window's tokens; windows without a known answer do not count."""
    task = make_task(tokenizer)
    windows = golden_windows(GOLDEN, tokenizer, tmp_path, training=False)
    batch = batch_of(windows, range(12, 30))
    assert batch.attention_mask is not None
    known = [row for row, is_known in enumerate(batch.targets.known) if is_known]
    assert 0 < len(known) < len(batch.targets.known)
    outputs = task(batch)
    ends = (("loss_start", outputs.starts, batch.targets.starts), ("loss_end", outputs.ends, batch.targets.ends))
    for name, logits, places in ends:
        total = 0.0
        for row in known:
            values = logits[row, : batch.lengths[row]].tolist()
            total += math.log(sum(map(math.exp, values))) - values[int(places[row])]
        assert losses(task, batch)[name] == pytest.approx(total / 2, rel=1e-5)
    assert task.totals(batch) == {"windows": float(len(known))}
    assert divided(task.terms(batch)[1], task.totals(batch))["loss_start"].isfinite()


def test_the_loss_does_not_depend_on_the_batch(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    """Windows padded to the longest of 20 have the losses that they have one by one."""
    task = make_task(tokenizer)
    windows = golden_windows(GOLDEN, tokenizer, tmp_path, training=True)
    together = losses(task, batch_of(windows, range(10, 30)))
    alone = [losses(task, batch_of(windows, range(row, row + 1))) for row in range(10, 30)]
    assert together == pytest.approx({name: sum(found[name] for found in alone) for name in together}, rel=1e-5)


def test_answers_to_questions_of_a_caller(tokenizer: TextTokenizer) -> None:
    """Pairs of question and text; the answer is a part of the text; the best ones in order."""
    task = make_task(tokenizer)
    pair = ("Who was red?", "The leader of Rome was John Smith. " * 4)
    found = task.predict(pair)
    assert pair[1][found.start : found.end] == found.text != ""
    best = task.predict([pair, pair], batch_size=1, k=3)
    assert [answer.score for answer in best[0]] == sorted((answer.score for answer in best[0]), reverse=True)
    assert best[0][0] == found
    assert best == [best[0]] * 2
    assert task.predict(pair, batch_size=64) == found
    assert make_task(tokenizer, answer_text="aligned").predict(pair).text == found.text
    abstaining = make_task(tokenizer, unanswerable=True, null_threshold=-1e9)
    assert abstaining.predict(pair)[:3] == ("", -1, -1)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("Who?", "^input 0 is no pair of texts: give"),
        (("Who?",), "^the input is no pair of texts"),
        ([("Who?", "It was Ida."), ("Who?", 3)], "^input 1 is no pair of texts"),
        (("Who?", " "), "^the input has an empty text"),
        ([("", "It was Ida.")], "^input 0 has an empty question"),
    ],
)
def test_inputs_that_are_no_questions(tokenizer: TextTokenizer, inputs: Any, message: str) -> None:
    """One line says which input."""
    with pytest.raises(DataError, match=message):
        make_task(tokenizer).predict(inputs)


def test_a_network_that_reads_too_little_is_refused(tokenizer: TextTokenizer) -> None:
    """Before anything is computed."""
    with pytest.raises(ConfigError, match=r"^data.max_length: 28 tokens are more than the network reads \(27\)$"):
        make_task(tokenizer, max_length=27)


def test_data_takes_the_tokenizer_of_a_checkpoint(tokenizer: TextTokenizer) -> None:
    """Its own lengths stay, and a tokenizer of its own is neither trained nor read."""
    data = QuestionsDataModule(max_length=64, max_query_length=16, tokenizer="nowhere", num_val=4)
    data.follow(make_task(tokenizer).spec)
    windows = data.dataset("val")
    assert windows.cutting.tokenizer.fingerprint == tokenizer.fingerprint
    assert (windows.cutting.max_length, windows.cutting.stride) == (64, 22)


def test_articles_are_held_out(tmp_path: Path) -> None:
    """No article is in training and validation; without a test file the validation is the test."""
    text = "The fox was red."
    content = squad(*((text, [qa(f"{n}-{k}", "What was red?", text, "The fox") for k in range(2)]) for n in range(10)))
    data = QuestionsDataModule(train=str(write(tmp_path / "x.json", content)), val_share=0.3, vocab_size=60)
    parts = {split: {item.id.split("-")[0] for item in data.questions(split)} for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [7, 3, 3]
    assert not parts["train"] & parts["val"]
    assert parts["test"] == parts["val"]
    assert len(data.dataset("train")) == 14
    assert data.rows_read()[str(tmp_path / "x.json")] == {"rows": 14, "used": 14, "left_out": {}}
    content["data"] = content["data"][:1]
    one = QuestionsDataModule(train=str(write(tmp_path / "y.json", content)))
    with pytest.raises(DataError, match="one article is too few to hold some out; name a"):
        one.questions("val")


def test_entries_are_laid_out_as_json_does_it(tmp_path: Path) -> None:
    """Byte for byte as the whole object would be."""
    for content in ({}, {"a": "x", 'b"': [{"text": "ü", "n": 1.5}], "c": []}):
        with (tmp_path / "x.json").open("w", encoding="utf-8") as file:
            written = JsonObject(file)
            for name, value in content.items():
                written.write(name, value)
            written.end()
        assert (tmp_path / "x.json").read_text() == json.dumps(content, indent=4) + "\n"


WORDS = (
    "model=bert_tiny_answerer",
    "trainer=cpu",
    "logger=csv",
    "strategy=single",
    "model.net.encoder_options={embed_dim: 16, num_layers: 1, num_heads: 2, feedforward_dim: 16}",
    "trainer.max_steps=3",
    "trainer.val_every_n_steps=3",
    "data.num_train=64",
    "data.num_val=16",
    "data.num_test=16",
    "data.unanswerable=0.3",
)


def test_stages(tmp_path: Path) -> None:
    """A training of 3 steps, a test on a file, a prediction of the same file: EM and F1 are those of the answers."""
    run = lab.fit(*WORDS, paths={"runs_dir": str(tmp_path / "runs")})
    assert {"test/exact_match", "test/f1", "test/has_answer_f1", "test/no_answer_f1", "test/best_f1"} <= set(run.result)
    made = [*questions(9, 20, 0.3)]
    rows = [(it.context, qa(it.id, it.question, it.context, *it.answers, impossible=not it.answers)) for it in made]
    path = write(tmp_path / "dev.json", squad(*((3 * text, [row]) for text, row in rows)))
    tested = lab.test(run, f"data.test={path}", "data.max_length=48", "data.max_query_length=16")
    truth = read_questions(path)
    folder = Path(run.path) / "test-best"
    predictions = read_predictions(folder / "predictions.json")
    expected = score(truth, predictions).values
    assert {name: tested.result[f"test/{name}"] for name in expected} == expected
    assert list(predictions) == [item.id for item in truth]
    assert set(json.loads((folder / "null_odds.json").read_text())) == set(predictions)
    lines = [{"id": it.id, "question": it.question, "context": it.context * 3} for it in made]
    asked = tmp_path / "asked.jsonl"
    asked.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    lab.predict(run, asked, "data.max_length=48", "data.max_query_length=16", config_dir=())
    answered = Path(run.path) / "predict-best"
    for name in ("predictions.json", "nbest_predictions.json", "null_odds.json"):
        assert (answered / name).read_text() == (folder / name).read_text()


def test_a_vocabulary_of_characters_is_refused() -> None:
    """It has nothing that frames a question and its text."""
    with pytest.raises(ConfigError, match=r"^data.tokenizer=characters has no \[CLS\] and \[SEP\]; take a vocab.txt"):
        _ = QuestionsDataModule(tokenizer="characters", num_train=4).spec


@pytest.mark.parametrize(
    ("lengths", "key"),
    [
        ({"max_length": 600}, "data.max_length: windows of 600 tokens are longer than the network reads (512)"),
        ({"max_query_length": 509}, "data.max_query_length: a question of 509 tokens leaves no room"),
        ({"stride": 445}, "data.stride: windows 445 tokens apart would not overlap"),
        ({"stride": None}, ""),
    ],
)
def test_lengths_are_refused_before_torch_is_loaded(lengths: dict[str, Any], key: str) -> None:
    """By the rules that every command goes through."""
    data = {"max_length": 512, "stride": 128, "max_query_length": 64, **lengths}
    found = conflict({"data": data, "model": {"net": {"max_length": 512}}})
    assert (": ".join(found) if found else "").startswith(key)
    assert bool(found) == bool(key)
