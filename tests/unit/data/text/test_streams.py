"""Streams of tokens: what is in their files, and that they are made once."""

import multiprocessing
import os
import pickle
import time

import numpy as np
import pytest

from lab.data.cached import made_once
from lab.data.text.documents import FileDocuments
from lab.data.text.progress import shown
from lab.data.text.streams import token_stream
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import DataError


def lines(tmp_path, *texts):
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    return FileDocuments((path,))


def test_documents_stand_between_ends(tmp_path):
    tokenizer = TextTokenizer.characters("abcé", ["<|endoftext|>", "[UNK]"])
    documents = lines(tmp_path, "ab", "", "c x", "é")
    stream, key = token_stream(documents, tokenizer, shard=4)
    assert stream.read(0, len(stream)).tolist() == [0, 2, 3, 0, 4, 1, 1, 0, 5, 0]
    assert stream.starts.tolist() == [0, 3, 7]
    assert stream.documents(2, 9).tolist() == [0, 1, 1, 1, 1, 2, 2]
    counts = stream.counts
    assert (counts.documents, counts.empty, counts.characters, counts.bytes, counts.words) == (3, 1, 6, 7, 4)
    assert (counts.unknown, counts.ends, counts.width, counts.first_bytes) == (2, 0, 2, (0, 0))
    assert sorted(path.name for path in stream.folder.iterdir()) == [
        "meta.json",
        "starts.bin",
        *(f"tokens-0000{number}.bin" for number in range(3)),
    ]
    assert pickle.loads(pickle.dumps(stream)).read(3, 9).tolist() == [0, 4, 1, 1, 0, 5]
    assert token_stream(documents, tokenizer, shard=4)[1] == key


def test_without_a_token_for_ends(tmp_path):
    stream, _ = token_stream(lines(tmp_path, "éa", "b"), TextTokenizer.characters("abé"))
    assert stream.read(0, 3).tolist() == [2, 0, 1]
    assert stream.starts.tolist() == [0, 2]
    assert stream.counts.first_bytes == (3, 2)


def test_unknown_characters_are_refused_without_a_token_for_them(tmp_path):
    with pytest.raises(DataError, match=r"lines.jsonl: 1 characters are not in the vocabulary of 2, such as 'c'"):
        token_stream(lines(tmp_path, "ab", "c"), TextTokenizer.characters("ab"))
    assert not [path for path in (tmp_path / "cache" / "lab-texts").iterdir() if path.is_dir()]


def test_wide_tokens(tmp_path):
    symbols = [chr(number) for number in range(0x4E00, 0x4E00 + 20_000)]
    symbols += [chr(number) for number in range(0x20000, 0x20000 + 46_000)]
    stream, _ = token_stream(lines(tmp_path, symbols[-1]), TextTokenizer.characters(symbols))
    assert stream.counts.width == 4
    assert stream.read(0, 1).tolist() == [65_999]
    assert stream._shards[0].dtype == np.uint32


def test_made_once_and_never_half(tmp_path):
    calls = []

    def make(folder):
        calls.append(folder)
        (folder / "part").write_text("x")
        if len(calls) == 1:
            raise KeyboardInterrupt
        (folder / "meta.json").write_text("{}")

    with pytest.raises(KeyboardInterrupt):
        made_once("key", make)
    (calls[0].parent / f".key.making{os.getpid() + 1}").mkdir()  # what a killed process leaves
    folder = made_once("key", make)
    assert made_once("key", make) == folder
    assert len(calls) == 2
    assert sorted(path.name for path in folder.parent.iterdir()) == [".key.lock", "key"]


def test_a_cache_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "lab-texts").write_text("")
    with pytest.raises(
        DataError, match=r"this is the cache of datasets, and it cannot be written to .*HF_DATASETS_CACHE"
    ):
        token_stream(lines(tmp_path, "ab"), TextTokenizer.characters("ab"))


def test_processes_wait_for_each_other(tmp_path):
    def want(number):
        def make(folder):
            with (tmp_path / "made").open("a") as file:
                file.write(f"{number}\n")
            time.sleep(0.2)
            (folder / "meta.json").write_text(str(number))

        (tmp_path / f"got{number}").write_text((made_once("key", make) / "meta.json").read_text())

    processes = [multiprocessing.get_context("fork").Process(target=want, args=(number,)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    (made,) = (tmp_path / "made").read_text().split()
    assert [(tmp_path / f"got{number}").read_text() for number in range(3)] == [made] * 3


def test_damaged_files_are_named(tmp_path):
    documents, tokenizer = lines(tmp_path, "ab"), TextTokenizer.characters("ab")
    folder = token_stream(documents, tokenizer)[0].folder
    (folder / "tokens-00000.bin").write_bytes(b"\0")
    with pytest.raises(DataError, match=r"damaged \(a file has another size\); delete the folder$"):
        token_stream(documents, tokenizer)
    (folder / "meta.json").write_text("{")
    with pytest.raises(DataError, match=r"damaged \(.*\); delete the folder$"):
        token_stream(documents, tokenizer)


def test_a_bar_is_shown_on_a_terminal_only(tmp_path, monkeypatch, capsys):
    documents = lines(tmp_path, "ab", "é")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert [text for text, _ in shown(documents, "tokens of")] == ["ab", "é"]
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    assert [text for text, _ in shown(documents, "tokens of")] == ["ab", "é"]
    assert "tokens of" in capsys.readouterr().err
