"""Windows of a stream: each token predicted once, no label from another document."""

import math

import pytest
import torch

from lab.data.text.documents import FileDocuments
from lab.data.text.streams import token_stream
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError, DataError
from lab.tasks.language_modeling.data.windows import EvalWindows, TrainWindows, gather_windows

END = "<|endoftext|>"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def stream(tmp_path):
    """The digits 0 to 22 as tokens, without a token for ends."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "abcde"}\n{"text": "fgh"}\n{"text": "ijklmnopqrstuvw"}\n')
    symbols = "abcdefghijklmnopqrstuvw"

    def make(special=()):
        return token_stream(FileDocuments((path,)), TextTokenizer.characters(symbols, special))

    return make


@pytest.mark.parametrize(("length", "stride"), [(5, 5), (5, 2), (5, 1), (22, 22), (30, 7), (21, 21)])
def test_every_token_is_predicted_once_with_what_stands_before_it(stream, length, stride):
    windows = EvalWindows(*stream(), length, stride, "ignore")
    found = [windows[(0, number)] for number in range(len(windows))]
    labels = [label for window in found for label in window.labels.tolist() if label >= 0]
    assert labels == list(range(1, 23))
    assert windows.num_labels == 22
    for window in found:
        assert len(window.tokens) == min(length, 22)
        of_labels = window.labels >= 0
        assert (window.labels[of_labels] == window.tokens[of_labels] + 1).all()
        if window is not found[0]:
            assert of_labels.sum() <= stride
            assert not of_labels[: min(length, 22) - stride].any()


def test_windows_by_hand(stream):
    windows = EvalWindows(*stream(), 8, 4, "ignore")
    assert [windows[(0, number)].tokens[0] for number in range(len(windows))] == [0, 4, 8, 12, 14]
    assert windows[(0, 4)].labels.tolist() == [-1, -1, -1, -1, -1, -1, 21, 22]


def test_documents_are_told_apart(stream):
    masked = EvalWindows(*stream(), 22, 22, "mask")
    window = masked[(0, 0)]
    assert window.documents.tolist() == [0] * 5 + [1] * 3 + [2] * 14
    assert [place for place, label in enumerate(window.labels.tolist()) if label < 0] == [4, 7]
    assert masked.num_labels == 20 == int((window.labels >= 0).sum())
    # with a token for ends, each token of the text and each end is predicted, from the end before
    ended = EvalWindows(*stream((END,)), 30, 30, "mask")
    window = ended[(0, 0)]
    assert window.tokens.tolist()[:8] == [0, 1, 2, 3, 4, 5, 0, 6]
    assert window.documents.tolist() == [0] * 6 + [1] * 4 + [2] * 16
    assert ended.num_labels == 26 == int((window.labels >= 0).sum())
    assert window.labels.tolist()[5] == 0


def test_bytes_and_words_of_a_label(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "é b"}\n{"text": "é"}\n')
    for special, crossing, labels, size in (
        ((), "ignore", 3, 4),
        ((), "mask", 2, 2),
        ((END,), "mask", 6, 6),
        ((END,), "ignore", 6, 6),
    ):
        found = token_stream(FileDocuments((path,)), TextTokenizer.characters("é b", special))
        windows = EvalWindows(*found, 9, 9, crossing)
        assert windows.num_labels == labels
        assert windows.text_per_label == pytest.approx((size / labels, 3 / labels))
        assert gather_windows([windows[(0, 0)]]).targets.text_per_label == windows.text_per_label


def test_training_windows_are_a_function_of_seed_epoch_and_index(stream):
    for kind in ("random", "blocks"):
        first, again = (TrainWindows(*stream(), 5, kind, "ignore", seed=3) for _ in range(2))
        assert len(first) == 4
        for key in ((0, 0), (0, 3), (7, 2)):
            assert first[key].tokens.tolist() == again[key].tokens.tolist()
            assert (first[key].labels == first[key].tokens + 1).all()
        other = TrainWindows(*stream(), 5, kind, "ignore", seed=4)
        assert [first[(epoch, 0)].tokens[0] for epoch in range(9)] != [
            other[(epoch, 0)].tokens[0] for epoch in range(9)
        ]


def test_blocks_follow_each_other_and_no_token_is_always_left_out(stream):
    windows = TrainWindows(*stream(), 5, "blocks", "ignore", seed=0)
    begins = [[int(windows[(epoch, number)].tokens[0]) for number in range(4)] for epoch in range(40)]
    assert all(row == list(range(row[0], row[0] + 20, 5)) for row in begins)
    assert {row[0] for row in begins} == {0, 1, 2}


def test_random_windows_begin_anywhere(stream):
    windows = TrainWindows(*stream(), 5, "random", "ignore", seed=0)
    begins = [int(windows[(epoch, number)].tokens[0]) for epoch in range(100) for number in range(4)]
    assert set(begins) == set(range(18))  # the last window is 17 to 21, and predicts 22
    assert abs(sum(begins) / len(begins) - 8.5) < 4 * math.sqrt(18**2 / 12 / 400)


def test_a_batch(stream):
    windows = EvalWindows(*stream(), 5, 2, "mask")
    batch = gather_windows([windows[(0, 0)], windows[(0, 1)]])
    assert batch.input_ids.tolist() == [[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]]
    assert batch.targets.labels.tolist() == [[1, 2, 3, 4, -1], [-1, -1, -1, 6, 7]]
    assert batch.targets.documents.tolist() == [[0] * 5, [0, 0, 0, 1, 1]]
    assert (batch.targets.counts, batch.lengths, batch.attention_mask) == ((4, 2), (5, 5), None)
    assert batch.input_ids.dtype == batch.targets.labels.dtype == torch.int64
    assert batch.rows(slice(1, 2)).targets.text_per_label == batch.targets.text_per_label


def test_texts_that_are_too_short(stream, tmp_path):
    with pytest.raises(
        DataError, match=r"has 23 tokens, too few .*data.max_length=23 .*take data.max_length=22 or less"
    ):
        TrainWindows(*stream(), 23, "random", "ignore", seed=0)
    with pytest.raises(ConfigError, match=r"^data.eval_stride=6: should be from 1 to data.max_length=5$"):
        EvalWindows(*stream(), 5, 6, "ignore")
    (tmp_path / "b.txt").write_text("a")
    with pytest.raises(DataError, match="a single token"):
        EvalWindows(*token_stream(FileDocuments((tmp_path / "b.txt",)), TextTokenizer.characters("a")), 5, 5, "ignore")
