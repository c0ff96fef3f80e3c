"""Loss, metrics and predictions of the task of sound, against torch and numbers by hand; what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lab.errors import ConfigError, DataError
from lab.report.sounds import SoundPanel
from lab.structures.audio import AudioTargets
from lab.tasks.audio.pictures import described, draw_mel, spectrogram_panels
from tests.unit.tasks.audio.makers import make_batch, make_spec, make_task

LABELS, LENGTHS = [0, 2, 1, 1], [160, 80, 240, 100]
SHARES = [[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]]


def test_the_loss_is_the_cross_entropy_over_clips() -> None:
    task, batch = make_task(), make_batch(LABELS, LENGTHS)
    logits, terms = task.terms(batch)
    assert batch.waveforms.shape == (4, 240)
    torch.testing.assert_close(terms["loss_ce"].sum, F.cross_entropy(logits, torch.tensor(LABELS), reduction="sum"))
    assert dict(task.totals(batch)) == {"clips": 4.0}
    assert task.dry_run(batch) == "waveforms (4, 240) -> logits (4, 3)"


def test_the_loss_of_several_labels_is_binary() -> None:
    task, batch = make_task(make_spec(multilabel=True)), make_batch(SHARES, LENGTHS)
    logits, terms = task.terms(batch)
    expected = F.binary_cross_entropy_with_logits(logits, torch.tensor(SHARES).float(), reduction="sum")
    torch.testing.assert_close(terms["loss_bce"].sum, expected)


def test_smoothing_and_balanced_weights_are_of_training_alone() -> None:
    """Of 4, 2 and 2 clips the weights are 8/(3*4) and 8/(3*2)."""
    task, batch = make_task(learning={"label_smoothing": 0.1, "class_weights": "balanced"}), make_batch(LABELS, LENGTHS)
    logits, terms = task.train().terms(batch)
    weights, labels = torch.tensor([2 / 3, 4 / 3, 4 / 3]), torch.tensor(LABELS)
    expected = F.cross_entropy(logits, labels, weights, label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(terms["loss_ce"].sum, expected)
    torch.testing.assert_close(
        task.eval().terms(batch)[1]["loss_ce"].sum, F.cross_entropy(logits, labels, reduction="sum")
    )


def test_augmentation_is_of_training_batches_alone() -> None:
    task = make_task(learning={"mixup": 0.5, "spec_augment": {"frequency_width": 4}})
    batch = make_batch(LABELS, [160] * 4, train=True)
    plain = task.eval().terms(batch)[0]
    torch.testing.assert_close(plain, make_task()(batch))
    mel, labels = task.train().augmented(batch)
    assert labels.shape == (4, 3)
    torch.testing.assert_close(labels.sum(1), torch.ones(4))
    assert (mel.examples != task.mel(batch).examples).any()
    again = task.augmented(batch)[0]
    torch.testing.assert_close(mel.examples, again.examples, rtol=0, atol=0)


def test_a_pair_is_augmented_on_two_ranks_as_on_one() -> None:
    task = make_task(learning={"mixup": 0.5, "spec_augment": {}}).train()
    batch = make_batch(LABELS, [160] * 4, train=True)
    whole, parts = task.augmented(batch), [task.augmented(batch.rows(slice(k, k + 2))) for k in (0, 2)]
    torch.testing.assert_close(whole[0].examples, torch.cat([mel.examples for mel, _ in parts]), rtol=0, atol=0)
    torch.testing.assert_close(whole[1], torch.cat([labels for _, labels in parts]), rtol=0, atol=0)


def test_metrics_leave_padding_out() -> None:
    task, batch = make_task(), make_batch(LABELS, LENGTHS)
    logits = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [9.0, 0.0, 0.0]])
    task.evaluate("test", logits, replace(batch, valid=torch.tensor([True, True, True, False])))
    values = task.compute_metrics("test")
    assert values == {"accuracy": pytest.approx(2 / 3), "macro_f1": pytest.approx((2 / 3 + 1 + 0) / 3)}
    assert task.classes_measured("test") == {"macro_f1": 3}
    assert task.tables["classes"][2] == {"class": "c", "clips": 1, "accuracy": 0.0, "precision": 0.0, "f1": 0.0}
    assert task.tables["confusion"][2] == {"true / predicted": "c", "a": 1, "b": 0, "c": 0}
    assert "confusion" in task.drawings("test")


def test_a_clip_of_several_examples_has_their_mean() -> None:
    task, batch = make_task(), make_batch([0], [170])
    numbers, ((count, logits),) = task.predict_step(batch, 0)
    assert (numbers.tolist(), count) == ([0], 2)
    mean = torch.stack(
        [task(replace(batch, waveforms=batch.waveforms[:, k : k + 80], lengths=torch.tensor([80]))) for k in (0, 80)]
    )
    torch.testing.assert_close(logits[None], mean.mean(0))


def test_predictions_from_python(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    task, wave = make_task(top_k=2), np.sin(0.3 * np.arange(160)).astype(np.float32)
    found = task.predict(wave)
    assert (len(found), found.names[0]) == (2, task.class_names[int(found.labels[0])])
    logits = task(make_batch([0], [160]))[0]
    torch.testing.assert_close(found.scores, logits.softmax(0).sort(descending=True).values[:2])
    soundfile.write(tmp_path / "a.wav", wave, 1000, subtype="FLOAT")
    several = task.predict([tmp_path / "a.wav", torch.from_numpy(wave[:30])])
    assert several[0].names == found.names
    for wrong, said in (
        ([[1.0], [2.0]], "a sound is a path"),
        (str(tmp_path / "b.wav"), "No such file"),
        ([math.nan], "finite"),
    ):
        with pytest.raises(DataError, match=said):
            task.predict(np.array(wrong) if isinstance(wrong, list) else wrong)


def test_what_does_not_fit_is_refused() -> None:
    several = make_spec(multilabel=True)
    for arguments, said in (
        ({"sample_rate": 8000}, r"data\.sample_rate=1000: TinyListener hears 8000"),
        ({"monitor": "map"}, r"eval\.monitor=map: clips of one label are measured by accuracy, macro_f1, loss"),
        ({"spec": several, "monitor": "accuracy"}, "several labels are measured by map, auc, loss"),
        ({"spec": several, "learning": {"loss": "cross_entropy"}}, "clips of this data have several"),
        ({"learning": {"class_weights": [1.0]}}, "1 numbers for 3 classes"),
        ({"learning": {"spec_augment": {"time_mask": 1}}}, r"model\.learning\.spec_augment\.time_mask"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_task(**arguments)
    with pytest.raises(ConfigError, match=r"gives \(4, 2\) for 4 clips, and a network for sound logits \(4, 3\)"):
        make_task(classes_missing=1)(make_batch(LABELS, LENGTHS))


def test_pictures_have_their_sounds() -> None:
    task, batch = make_task(), make_batch(LABELS, LENGTHS)
    outputs = task(batch)
    panels = list(spectrogram_panels(task, outputs, batch, 3))
    assert [len(panel.waveform) for panel in panels] == LENGTHS[:3]
    assert all(isinstance(panel, SoundPanel) and panel.sample_rate == 1000 for panel in panels)
    assert panels[0].wave()[:4] == b"RIFF"
    assert task.draw_inputs(batch, 2) is not None
    picture = draw_mel(torch.tensor([[0.0, 1.0], [0.0, 0.5]]))
    assert picture.size == (2, 2)
    assert (picture.getpixel((0, 1)), picture.getpixel((0, 0))) == ((0, 0, 16), (252, 252, 168))  # the low band below


def test_what_stands_below_a_picture() -> None:
    names = ("a", "b", "c")
    assert [text for text, _ in described(torch.tensor([0.2, 0.7, 0.1]), torch.tensor(1), names)] == ["b 0.70"]
    assert [text for text, _ in described(torch.tensor([0.2, 0.7, 0.1]), torch.tensor(0), names)] == [
        "b 0.70",
        "true: a",
    ]
    tags = described(torch.tensor([0.9, 0.7, 0.1]), torch.tensor([1.0, 0.0, 1.0]), names)
    assert [text for text, _ in tags] == ["a", "wrong: b", "missed: c"]


def test_labels_may_be_shares() -> None:
    batch = make_batch(SHARES, LENGTHS)
    assert isinstance(batch.targets, AudioTargets)
    assert batch.rows(slice(1, 3)).targets.labels.tolist() == SHARES[1:3]
