"""Texts are continued token by token, as the network's own logits say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
import yaml

from lab.config.compose import config_dir
from lab.errors import ConfigError, DataError
from lab.tasks.language_modeling.generating import Continuation, Generation, until
from lab.tasks.language_modeling.prompts import Prompts
from lab.tasks.language_modeling.settings import GenerationSettings
from lab.tasks.language_modeling.streaming import TextStream
from lab.tasks.language_modeling.task import LanguageModelingTask
from tests.unit.tasks.language_modeling.generators import make_generator
from tests.unit.tasks.language_modeling.makers import make_task

PROMPTS = ["abc", "h", "dead beef.", "a", "cab"]


@pytest.fixture(scope="module")
def task() -> LanguageModelingTask:
    return make_generator()


def by_hand(task: LanguageModelingTask, prompt: str, count: int) -> tuple[list[int], float]:
    """Return the most probable tokens, each from a whole forward pass, and the logarithm of their probability."""
    ids, total = task.tokenizer.encode(prompt), 0.0
    first = len(ids)
    with torch.no_grad():
        for _ in range(count):
            logprobs = task.net(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            ids.append(int(logprobs.argmax()))
            total += float(logprobs.max())
    return ids[first:], total


def test_greedy_texts_are_those_of_whole_passes_in_batches_of_any_size(task: LanguageModelingTask) -> None:
    how = Generation(max_new_tokens=9, sample=False)
    found = task.predict(PROMPTS, batch_size=3, how=how)
    for one, prompt in zip(found, PROMPTS, strict=True):
        tokens, logprob = by_hand(task, prompt, 9)
        assert list(one.tokens) == tokens
        assert one.logprob == pytest.approx(logprob, abs=1e-4)  # worst measured: 4e-6
        assert (one.prompt, one.text, one.stopped) == (prompt, task.tokenizer.decode(tokens), "length")
    assert len({one.text for one in found}) > 2
    assert task.generate("abc", 9, sample=False) == str(found[0]) == "abc" + found[0].text
    assert task.generate(PROMPTS, 9, sample=False) == [str(one) for one in found]


def test_a_draw_is_a_function_of_seed_prompt_and_number(task: LanguageModelingTask) -> None:
    texts = task.generate(PROMPTS, 8, num_samples=2, seed=1)
    assert texts == task.generate(PROMPTS, 8, num_samples=2, seed=1, batch_size=3)
    assert texts != task.generate(PROMPTS, 8, num_samples=2, seed=2)
    assert [text[: len(prompt)] for text, prompt in zip(texts[::2], PROMPTS, strict=True)] == PROMPTS
    assert texts[0] != texts[1]
    assert len(task.generate("abc", 8, num_samples=3)) == 3


def test_a_text_ends_before_the_first_text_to_stop_at(task: LanguageModelingTask) -> None:
    whole = task.predict("abc", how=Generation(12, sample=False))
    stop = whole.text[5:7]
    assert 0 < whole.text.index(stop) <= 5
    found = task.predict(["abc", "h"], how=Generation(12, sample=False, stop=[stop, "\n\n\n"]))[0]
    assert found.text == whole.text[: whole.text.index(stop)]
    assert found.tokens == whole.tokens[: whole.text.index(stop) + 2]
    assert found.stopped == "stop"
    assert found.logprob > whole.logprob
    assert task.generate("abc", 12, sample=False, stop=stop) == "abc" + found.text
    assert until("one two", ["two", "e"]) == "on"


def test_the_token_that_ends_a_text_ends_it() -> None:
    task = make_generator(("<|endoftext|>",))
    end = task.tokenizer.special.end_of_text
    with torch.no_grad():
        task.net.word_embeddings.weight[end] *= 4
    found = task.predict(PROMPTS, how=Generation(40))
    ended = [one for one in found if one.stopped == "end_of_text"]
    assert ended
    for one in ended:
        assert one.tokens.index(end) == len(one.tokens) - 1
        assert "<|" not in one.text
    assert task.predict("", how=Generation(3)).prompt == ""  # begins with the token that stands before every text


def test_a_stream_shows_the_text_as_it_grows(task: LanguageModelingTask) -> None:
    parts: list[str] = []
    text = task.generate("abc", 12, stream=parts.append)
    assert "".join(parts) == text == task.generate("abc", 12)
    assert len(parts) == 13
    assert task.grow is None


def test_a_stream_holds_back_what_may_become_a_stop_and_parts_of_a_character() -> None:
    class Bytes:
        """Each token is a byte."""

        def decode_added(self, ids: Sequence[int]) -> str:
            return bytes(ids).decode(errors="replace")

    shown: list[str] = []
    stream = TextStream(Bytes(), ["END"], shown.append)  # type: ignore[arg-type]
    for byte in "aEé EN".encode():
        stream.add(byte)
    assert shown == ["a", "Eé", " "]
    for byte in b"D!":
        stream.add(byte)
    stream.finish("aEé ")
    assert "".join(shown) == "aEé "


def test_prompts_of_similar_length_are_neighbours_within_windows() -> None:
    prompts = Prompts(list("uvwxyz"), [[0] * length for length in (3, 1, 2, 1, 3, 2)], window=4)
    assert prompts.order == [1, 3, 2, 0, 5, 4]
    twice = Prompts(["u", "v"], [[0] * 2, [0]], num_samples=2, window=4)
    assert [twice[0, place] for place in range(4)] == [(2, "v", [0]), (3, "v", [0]), (0, "u", [0, 0]), (1, "u", [0, 0])]


def test_the_defaults_are_those_of_the_group() -> None:
    shipped = yaml.safe_load((config_dir() / "generation" / "default.yaml").read_text(encoding="utf-8"))
    assert set(GenerationSettings.model_fields) == set(shipped)
    assert Generation.of(shipped) == Generation()
    assert set(shipped) - {"stream"} == {field.name for field in dataclasses.fields(Generation)}


def test_what_cannot_be_continued_is_refused(task: LanguageModelingTask) -> None:
    with pytest.raises(DataError, match=r"^prompt 2 \('xyz'\): "):
        task.generate(["a", "xyz"])
    with pytest.raises(DataError, match=r"^prompt 1 is empty, and this tokenizer has no token that begins a text$"):
        task.generate("")
    with pytest.raises(ConfigError, match="temperature"):
        task.generate("a", temperature=0.0)
    with pytest.raises(ConfigError, match=r"^stream shows one text: give one prompt, and num_samples=1$"):
        task.generate(["a", "b"], stream=True)
    short = make_generator(positions="learned", max_length=16)
    assert isinstance(short.predict("abcdef", how=Generation(10)), Continuation)
    said = r"^prompt 1 \('abcdefg'\) has 7 tokens; beside max_new_tokens the model reads at most 6$"
    with pytest.raises(DataError, match=said):
        short.generate("abcdefg", 10)
    with pytest.raises(DataError, match=r"^prompt 1 \('a{40}'\) has 10000000 tokens; .* reads at most 256$"):
        task.generate("a" * 10_000_000)  # 16 times what the training has read
    with pytest.raises(DataError, match=r"^int is no text: predict takes a text, or a list of texts$"):
        task.predict(["a", 5])
    with pytest.raises(ConfigError, match=r"^a masked model continues no texts"):
        make_task("masked").generate("a")
    with pytest.raises(ConfigError, match=r"^the data of this model has told no tokenizer"):
        make_task().generate("a")
