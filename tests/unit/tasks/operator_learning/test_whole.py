"""From generated fields to forecasts: fit, test, predict, the second stage, as a user runs them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lab
from lab.tasks.operator_learning.task import OperatorLearningTask

WORDS = (
    "model=afno_tiny",
    "model.net.embed_dim=8",
    "model.net.num_layers=1",
    "model.net.num_blocks=2",
    "data.resolution=16",
    "data.batch_size=4",
    "data.num_train=8",
    "data.num_val=2",
    "data.num_test=3",
    "data.eval_steps=3",
    "trainer=cpu",
    "trainer.max_steps=4",
    "trainer.val_every_n_steps=2",
    "logger=csv",
    "callbacks.progress=false",
    "callbacks.pictures=1",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lab.Run:
    return lab.fit(*WORDS, f"paths.runs_dir={tmp_path_factory.mktemp('runs')}")


def weights(run: lab.Run, name: str = "best") -> dict[str, torch.Tensor]:
    return lab.load(run.path / "checkpoints" / f"{name}.ckpt").net.state_dict()


def test_a_run_has_errors_spectra_and_pictures(run: lab.Run) -> None:
    assert run.record["monitor"] == "val/relative_l2"
    assert {"test/relative_l2", "test/rmse_u", "test/persistence_rmse_u"} <= set(run.record["lower_is_better"])
    assert run.record["result"]["test/acc_u"] is None  # there is no climatology
    assert [path.name for path in run.pictures] == [
        "test-000.png",
        "test-errors.png",
        "test-rollout.gif",
        "test-spectra.png",
        "test.png",
    ]
    assert set(run.tables) == {"lead_times", "wave_numbers"}
    assert list(run.tables["lead_times"]["lead"]) == [0.125, 0.25, 0.375]
    assert (run.path / "errors.csv").read_text().startswith("forecast,channel,step,lead,rmse,acc,relative_l2,not_fin")
    assert run.record["protocol"].startswith(
        "rmse in the channels' units, all points alike, pooled over samples; means"
    )


def test_a_test_repeats_the_fits_numbers(run: lab.Run) -> None:
    found = lab.test(run)
    assert found.result == pytest.approx({k: v for k, v in run.result.items() if k.startswith("test/")}, nan_ok=True)


def test_predict_is_what_load_predicts(run: lab.Run, tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(size=(2, 1, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "states.npz", fields=states)
    folder = lab.predict(run, tmp_path / "states.npz", "rollout.steps=5", "rollout.format=npz", "rollout.pictures=1")
    assert folder == run.path / "predict-best"
    forecasts = lab.load(run).predict(states, steps=5)
    with np.load(folder / "forecast.npz") as found:
        assert found["forecasts"].shape == (2, 5, 1, 16, 16)
        for one, other in zip(found["forecasts"], forecasts, strict=True):
            np.testing.assert_allclose(one, other.fields.numpy(), rtol=1e-5, atol=1e-5)


def test_the_second_stage_begins_with_the_weights_of_the_first(run: lab.Run, tmp_path: Path) -> None:
    """FourCastNet's: two steps of rollout in the loss; with a tiny rate the weights stay those of the first stage."""
    first = run.path / "checkpoints" / "best.ckpt"
    more = ("model.learning.steps=2", f"model.pretrained={first}", "optimizer.lr=1e-12", "trainer.max_steps=2")
    second = lab.fit(*WORDS, *more, f"paths.runs_dir={tmp_path}")
    before, after = weights(run), weights(second)
    assert max(float((after[name] - value).abs().max()) for name, value in before.items()) < 1e-6
    assert second.result["test/relative_l2"] == pytest.approx(run.result["test/relative_l2"], rel=1e-4)
    assert second.result["val/loss"] > 1.3 * run.result["val/loss"]  # of two steps


def test_an_interrupted_training_goes_on_to_the_same_bits(
    run: lab.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = OperatorLearningTask.training_step

    def interrupted(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.step == 2:
            signal.raise_signal(signal.SIGINT)
        return plain(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(OperatorLearningTask, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.fit(*WORDS, f"paths.runs_dir={tmp_path}")
    again = lab.fit(*WORDS, f"paths.runs_dir={tmp_path}")
    assert again.record["resumed_at"]
    assert again.result == pytest.approx(run.result, rel=0, abs=0, nan_ok=True)
    for name, value in weights(run, "last").items():
        assert torch.equal(weights(again, "last")[name], value)
