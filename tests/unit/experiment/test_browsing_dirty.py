"""What was put into sounds, texts, logs of sessions, questions and fields is found, and nothing else."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest

import lab
from lab.experiment.browsing import look_at, open_browser
from lab.report.sanity import SanityReport
from tests.data_factory import truncate

RATE = 16_000


def report_of(*words: str) -> SanityReport:
    return look_at(open_browser(lab.compose(*words).to_dict()), "dirty")


def found_in(report: SanityReport) -> dict[str, int]:
    """Return what was found in the training split, but for zeros."""
    return {name: finding.count for name, finding in report.looks[0].findings.items() if finding.count}


def write_sound(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def test_sounds(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for number in range(count):
            kind = ("bark", "meow")[number % 2]
            write_sound(tmp_path / split / kind / f"{number}.wav", rng.uniform(-0.5, 0.5, RATE))
    train = tmp_path / "train"
    (train / "meow" / "copy.wav").write_bytes((train / "bark" / "0.wav").read_bytes())
    (tmp_path / "val" / "bark" / "copy.wav").write_bytes((train / "bark" / "2.wav").read_bytes())
    write_sound(train / "bark" / "silent.wav", np.zeros(RATE))
    write_sound(train / "bark" / "loud.wav", np.sign(rng.uniform(-1, 1, RATE)))
    (train / "bark" / "broken.wav").write_bytes(b"no sound")
    report = report_of(
        "model=vggish_tiny", "data=audiofolder", f"data.root={tmp_path}", "data.val=val", "data.batch_size=4"
    )
    assert found_in(report) == {
        "exact duplicates": 1,
        "duplicates with another label": 1,
        "silent": 1,
        "files that are silent from start to end": 1,
        "clipped in more than 0.1 % of its samples": 1,
        "rows of the files that are left out": 1,
    }
    assert report.between["val also in train"].count == 1
    assert report.looks[0].tallies["sample rates of files in Hz"] == {"16000": 9}


def test_texts(tmp_path: Path) -> None:
    lines = [f"a text of number {number}\t{number % 2}" for number in range(12)]
    lines += ["a text of number 3\t1", "a text of number 4\t1", "x" * 12_000 + "\t0"]
    (tmp_path / "train.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
    (tmp_path / "val.tsv").write_text("text\tlabel\na text of number 5\t1\nanother text\t0\n")
    words = ("data=texts", f"data.root={tmp_path}", "data.files=train.tsv", "data.val_files=val.tsv")
    report = report_of("model=bert_tiny_classifier", *words, "data.batch_size=4", "data.vocab_size=200")
    assert found_in(report) == {
        "exact duplicates": 2,
        "duplicates with another label": 1,
        "texts of more than 10,000 characters": 1,
    }
    assert report.looks[0].classes == {"0": 7, "1": 8}
    assert report.between["val also in train"].count == 1


def test_sessions(tmp_path: Path) -> None:
    rows, time = ["session,item,time"], 0
    sessions = [[f"i{(start + step) % 7}" for step in range(4)] for start in range(7)]
    sessions += [sessions[0], ["i3"] * 5]
    for number, items in enumerate(sessions):
        for item in items:
            time += 60
            rows.append(f"s{number},{item},{time}")
    rows.append("s9,,99")
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("\n".join(rows[: None if split == "train" else 9]) + "\n")
    files = ("data.train_file=train.csv", "data.val_file=val.csv", "data.test_file=val.csv", "data.min_support=1")
    report = report_of("model=sasrec", "data=sessions", f"data.root={tmp_path}", *files, "data.batch_size=4")
    assert found_in(report) == {
        "exact duplicates": 1,
        "sequences of one item, repeated": 1,
        "rows of the files that are left out": 1,
    }
    assert report.between["val also in train"].count == 2
    assert report.looks[0].numbers["events of a sequence"].summary()["max"] == 5


def test_questions(tmp_path: Path) -> None:
    def row(number: int, context: str, start: int) -> dict[str, object]:
        answers = [{"text": "red", "answer_start": start}]
        return {"id": str(number), "question": "Which colour?", "context": context, "answers": answers}

    rows = [row(number, f"House {number:02d} is red.", 12) for number in range(8)]
    rows += [row(8, "House 01 is red.", 12), row(9, "House 99 is red.", 3), row(10, "", 0)]
    text = "\n".join(map(json.dumps, rows))
    (tmp_path / "train.jsonl").write_text(text)
    (tmp_path / "val.jsonl").write_text(text.split("\n")[0].replace('"0"', '"v"'))
    files = (f"data.root={tmp_path}", "data.train=train.jsonl", "data.val=val.jsonl", "data.batch_size=4")
    report = report_of("model=bert_tiny_answerer", "data=questions", *files, "data.vocab_size=200")
    found = found_in(report)
    assert found["exact duplicates"] == 1
    assert found["without a question or a text"] == 1
    assert found["answers that are not where they should begin"] == 2
    assert report.between["val also in train"].count == 1


def test_an_image_that_breaks_off_is_counted_among_classes(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(6):
            place = tmp_path / split / ("cat", "dog")[number % 2] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(place)
    truncate(tmp_path / "train" / "cat" / "2.png")
    words = ("data=imagefolder", f"data.root={tmp_path}", "data.image_size=32", "data.batch_size=2")
    report = report_of("model=resnet18", *words)
    assert found_in(report) == {"cannot be decoded": 1}
    assert report.looks[0].classes == {"cat": 2, "dog": 3}
