"""Folders of sounds, FSDD, ESC-50 and AudioSet: which clips they have, and what is left out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.errors import ConfigError, DataError
from lab.tasks.audio.data.audioset import AudioSetModule, Segment, read_segments
from lab.tasks.audio.data.collate import placed
from lab.tasks.audio.data.esc50 import ESC50Module
from lab.tasks.audio.data.folder import AudioFolderModule
from lab.tasks.audio.data.fsdd import FSDDModule
from tests.unit.tasks.audio.makers import make_spec

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")
RATE = 1000
TIMES = {"sample_rate": RATE, "clip_seconds": 0.1, "example_seconds": 0.08, "example_hop_seconds": 0.08}


def put(path: Path, length: int = 200, value: float = 0.25) -> None:
    """Write a sound, each of them another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = (
        np.linspace(0, 1, length, dtype=np.float32) * value * (1 + len(path.name) / 99 + sum(path.name.encode()) / 1e5)
    )
    soundfile.write(path, ramp, RATE, subtype="FLOAT" if path.suffix == ".wav" else None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("cat", "dog"):
        for number in range(6):
            put(tmp_path / "train" / label / f"{number}.wav", 50 + 50 * number)
    put(tmp_path / "train" / "cat" / "more.flac")
    put(tmp_path / "train" / "dog" / "silent.wav", value=0.0)
    put(tmp_path / "train" / "stray.wav")
    (tmp_path / "train" / "dog" / "notes.txt").write_text("x")
    (tmp_path / "train" / "dog" / "bad.mp3").write_bytes(b"no sound")
    (tmp_path / "train" / "dog" / "empty.wav").touch()
    cut = tmp_path / "train" / "cat" / "cut.wav"
    put(cut)
    cut.write_bytes(cut.read_bytes()[:400])
    return tmp_path


def test_a_folder_of_classes(folder: Path) -> None:
    data = AudioFolderModule(root=str(folder), val_share=0.2, **TIMES)
    train, val = data.dataset("train"), data.dataset("val")
    assert (len(train), len(val), data.spec.class_names) == (12, 3, ("cat", "dog"))
    assert sum(data.spec.class_counts) == 12
    (report,) = data.rows_read().values()
    assert report == {
        "rows": 19,
        "used": 15,
        "left_out": {
            "no sound by its ending": 1,
            "in no class's folder": 1,
            "Format not recognised": 1,
            "the file is empty": 1,
        },
        "odd": {"shorter than its header says": 1, "silent from start to end": 1},
    }
    table = {row["file"]: (row["fate"], row["why"]) for row in data.tables()["odd_sound_files"]}
    assert table["dog/bad.mp3"] == ("left out", "Format not recognised")
    assert table["cat/cut.wav"] == ("taken", "shorter than its header says")
    assert len(table) == 6
    batch = data.collate([train[0, number] for number in range(4)])
    assert batch.waveforms.shape == (4, 100)
    assert batch.chances is not None
    again = data.collate([train[0, number] for number in range(4)])
    assert torch.equal(batch.waveforms, again.waveforms)
    assert torch.equal(batch.chances, again.chances)
    whole = data.collate([val[0, number] for number in range(3)])
    assert whole.chances is None
    assert int(whole.lengths.min()) >= 80
    with pytest.raises(DataError, match=r"(?s)replace the file, or set data\.on_bad_sample=skip"):
        AudioFolderModule(root=str(folder), on_bad_sample="error", **TIMES).dataset("train")


def test_kept_sounds_are_those_of_the_disk(folder: Path) -> None:
    kept, read = (
        AudioFolderModule(root=str(folder), keep_sounds=keep, **TIMES).dataset("train") for keep in (True, False)
    )
    for epoch in range(2):
        assert torch.equal(kept[epoch, 2].waveform, read[epoch, 2].waveform)
    assert not torch.equal(kept[0, 2].waveform, kept[1, 2].waveform)


def test_damage_that_is_found_when_a_file_is_decoded(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = AudioFolderModule(root=str(folder), check="header", **TIMES)
    train, val = data.dataset("train"), data.dataset("val")
    (folder / "train" / train.clips.clips[0].name).write_bytes(b"")
    (folder / "train" / val.clips.clips[0].name).write_bytes(b"")
    assert train[0, 0].label == train.labels[1][0]
    assert (val[0, 0].label, int(val[0, 0].waveform.count_nonzero())) == (val.labels[0][0], 0)
    assert "the next clip replaces it (1 so far)" in caplog.text
    assert "evaluated as silence" in caplog.text


def test_classes_that_the_training_does_not_know(folder: Path) -> None:
    put(folder / "test" / "eel" / "a.wav")
    data = AudioFolderModule(root=str(folder), test="test", **TIMES)
    with pytest.raises(
        DataError, match=r"eel/a\.wav of the test set is of class 'eel', and the training knows cat, dog"
    ):
        data.dataset("test")
    data.follow(make_spec(class_names=("dog", "eel", "cat")))
    other = AudioFolderModule(root=str(folder), test="test", **TIMES)
    other.follow(make_spec(class_names=("dog", "eel", "cat")))
    assert other.dataset("test").labels == [(1,)]
    assert other.spec.class_names == ("dog", "eel", "cat")


def test_one_class_or_none_is_refused(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "train" / "cat" / f"{number}.wav")
    with pytest.raises(DataError, match="all clips are of one class, 'cat'"):
        AudioFolderModule(root=str(tmp_path), **TIMES).dataset("train")
    with pytest.raises(DataError, match="there is no such folder"):
        AudioFolderModule(root=str(tmp_path), train="no", **TIMES).dataset("train")
    (tmp_path / "bad" / "cat").mkdir(parents=True)
    (tmp_path / "bad" / "cat" / "a.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"no sound file for the training set \(1 left out: the file is empty"):
        AudioFolderModule(root=str(tmp_path), train="bad", **TIMES).dataset("train")


def test_a_clip_is_placed_in_silence_or_cut() -> None:
    wave, generator = torch.arange(1.0, 6.0), torch.Generator().manual_seed(0)
    assert placed(wave, 7, None).tolist() == [1, 2, 3, 4, 5, 0, 0]
    assert placed(wave, 3, None).tolist() == [1, 2, 3]
    starts = {int((placed(wave, 7, generator) > 0).int().argmax()) for _ in range(40)}
    assert starts == {0, 1, 2}
    assert {placed(wave, 3, generator)[0].item() for _ in range(40)} == {1, 2, 3}


def test_the_split_of_spoken_digits(tmp_path: Path) -> None:
    for digit in (3, 7):
        for speaker in ("ann", "bob"):
            for take in range(8):
                put(tmp_path / "recordings" / f"{digit}_{speaker}_{take}.wav")
    put(tmp_path / "recordings" / "seven.wav")
    data = FSDDModule(root=str(tmp_path), val_share=0.25, **TIMES)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [9, 3, 20]
    assert data.spec.class_names == ("3", "7")
    takes = {int(clip.name[-5]) for clip in data.dataset("test").clips.clips}
    assert takes == {0, 1, 2, 3, 4}
    reports = list(data.rows_read().values())
    assert [list(report["left_out"].values()) for report in reports] == [[1], []]
    alone = FSDDModule(root=str(tmp_path), held_out_speaker="bob", val_share=0.25, **TIMES)
    assert all("bob" in clip.name for clip in alone.dataset("test").clips.clips)
    assert all("ann" in clip.name for split in ("train", "val") for clip in alone.dataset(split).clips.clips)
    assert [len(alone.dataset(split)) for split in ("train", "val", "test")] == [12, 4, 16]
    with pytest.raises(ConfigError, match=r"data\.held_out_speaker=bop.*bob"):
        FSDDModule(root=str(tmp_path), held_out_speaker="bop", **TIMES).dataset("train")


def write_esc50(root: Path) -> None:
    (root / "meta").mkdir(parents=True)
    with (root / "meta" / "esc50.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        for fold in range(1, 6):
            for target, name in ((0, "dog"), (1, "rooster"), (36, "vacuum_cleaner")):
                rows.writerow([f"{fold}-{target}.wav", fold, target, name, name == "rooster", 1, "A"])
                put(root / "audio" / f"{fold}-{target}.wav")


def test_folds(tmp_path: Path) -> None:
    write_esc50(tmp_path)
    data = ESC50Module(root=str(tmp_path), test_fold=2, val_fold=1, **TIMES)
    names = [[clip.name for clip in data.dataset(split).clips.clips] for split in ("train", "val", "test")]
    assert [len(found) for found in names] == [9, 3, 3]
    assert names[1:] == [["1-0.wav", "1-1.wav", "1-36.wav"], ["2-0.wav", "2-1.wav", "2-36.wav"]]
    assert data.spec.class_names == ("dog", "rooster", "vacuum_cleaner")
    assert data.dataset("val").labels == [(0,), (1,), (2,)]
    with pytest.raises(ConfigError, match=r"data\.val_fold=5 is data\.test_fold"):
        ESC50Module(root=str(tmp_path), val_fold=5, **TIMES)
    (tmp_path / "meta" / "esc50.csv").write_text("filename,fold\na.wav,1\n")
    with pytest.raises(DataError, match="it has no column 'target'"):
        ESC50Module(root=str(tmp_path), **TIMES).dataset("train")


SEGMENTS = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=4, num_segs=4, num_unique_labels=3, num_positive_labels=5
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 0.000, 0.100, "/m/09x0r,/t/dd00088"
--ZhevVpy1s, 0.050, 0.150, "/m/012xff"
-0RWZT-miFs, 0.100, 0.200, "/m/012xff,/m/09x0r"
missing----, 0.000, 0.100, "/m/09x0r"
"""


def write_audioset(root: Path, whole: bool = False) -> None:
    root.mkdir(exist_ok=True)
    for name in ("balanced_train_segments.csv", "eval_segments.csv"):
        (root / name).write_text(SEGMENTS)
    lines = ['0,/m/09x0r,"Speech"', '1,/t/dd00088,"Gush, spurt"', '2,/m/012xff,"Toot"']
    (root / "class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *lines, ""]))
    for name in ("--PJHxphWEs", "Y--ZhevVpy1s", "-0RWZT-miFs" if whole else "-0RWZT-miFs_100"):
        put(root / "clips" / f"{name}.wav", 300)


def test_clips_by_the_lists_of_audioset(tmp_path: Path) -> None:
    write_audioset(tmp_path)
    segments = read_segments(tmp_path / "eval_segments.csv")
    assert segments[0] == Segment("--PJHxphWEs", 0.0, 0.1, ("/m/09x0r", "/t/dd00088"))
    data = AudioSetModule(root=str(tmp_path), val_share=0.4, check="header", **TIMES)
    test = data.dataset("test")
    assert data.spec.class_names == ("Speech", "Gush, spurt", "Toot")
    assert [clip.name for clip in test.clips.clips] == ["--PJHxphWEs.wav", "Y--ZhevVpy1s.wav", "-0RWZT-miFs_100.wav"]
    assert data.collate([test[0, k] for k in range(3)]).targets.labels.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 1]]
    assert len(test[0, 0].waveform) == 300
    assert list(data.rows_read().values())[-1]["left_out"] == {"its clip is not on the disk": 1}


def test_segments_of_whole_videos(tmp_path: Path) -> None:
    write_audioset(tmp_path, whole=True)
    data = AudioSetModule(root=str(tmp_path), val_share=0.4, whole_videos=True, **TIMES)
    found = data.dataset("test")[0, 1].waveform
    stored, _ = soundfile.read(tmp_path / "clips" / "Y--ZhevVpy1s.wav", dtype="float32")
    np.testing.assert_array_equal(found.numpy(), stored[50:150])


def test_a_line_that_is_no_segment(tmp_path: Path) -> None:
    for line in ("abc, 1, 2", 'abc, 2.0, 1.0, "/m/a"', 'abc, x, 1.0, "/m/a"', 'abc, 0, 1.0, ""'):
        (tmp_path / "a.csv").write_text(f"# comment\n{line}\n")
        with pytest.raises(DataError, match=r"a\.csv, line 2: .* is no segment"):
            read_segments(tmp_path / "a.csv")
