"""Frozen weights and statistics stay bit for bit; unfreezing is a function of the step, also after a resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lab.callbacks import unfreeze
from lab.callbacks.unfreeze import frozen_norms
from lab.checkpoint.format import CheckpointReader
from lab.errors import ConfigError
from lab.experiment.assembly import check_unfreezing
from lab.training.freezing import Freezing, TrainedPart
from tests.dist.harness import fit, losses, weights, worst_relative

WORDS = (
    "model=shufflenet_v2_x0_5",
    "optimizer.lr=0.01",
    "optimizer.weight_decay=0.5",
    "callbacks.ema={decay: 0.5, start: 0}",
    "trainer.gradient_clip_val=1.0",
    "trainer.max_steps=6",
    "trainer.val_every_n_steps=6",
)
STAGES = "callbacks.unfreeze={train: [head], stages: [{step: 2, train: [conv5]}, {step: 4, train: [stage4, conv1]}]}"


def optimized(run: Path) -> set[str]:
    """Return the parameters that the optimizer has a state of."""
    names = CheckpointReader(run / "checkpoints" / "last.ckpt").names("optimizer/")
    return {name.removeprefix("optimizer/net.").rpartition("/")[0] for name in names}


def changed(run: Path, before: dict[str, Tensor], name: str = "last.ckpt") -> set[str]:
    """Return the top modules in which some tensor differs, buffers included."""
    now = weights(run, name)
    return {key.split(".")[1] for key, value in before.items() if not torch.equal(value, now[key])}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights that every run begins with: a training with a rate of 0 and statistics of its own."""
    folder = tmp_path_factory.mktemp("start")
    run = fit((*WORDS, "callbacks=head_only", "optimizer.lr=0", "trainer.max_steps=1"), folder)
    return weights(run)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of three stages."""
    return fit((*WORDS, STAGES), tmp_path_factory.mktemp("whole"))


def test_head_only(tmp_path: Path, start: dict[str, Tensor]) -> None:
    run = fit((*WORDS, "callbacks=head_only"), tmp_path)
    assert changed(run, start) == changed(run, start, "best.ckpt") == {"fc"}  # statistics and averages neither
    assert optimized(run) == {"fc.weight", "fc.bias"}


def test_stages(whole: Path, start: dict[str, Tensor]) -> None:
    assert changed(whole, start) == {"fc", "conv5", "stage4", "conv1"}
    assert {name.split(".")[0] for name in optimized(whole)} == {"fc", "conv5", "stage4", "conv1"}
    # The average was validated and is what best.ckpt holds; the one validation is that of the last step.
    reader = CheckpointReader(whole / "checkpoints" / "last.ckpt")
    averaged, raw = weights(whole, "best.ckpt"), weights(whole)
    assert json.loads((whole / "run.json").read_text())["weights"] == "averaged"
    for name in ("net.fc.weight", "net.conv5.0.weight"):
        assert torch.equal(averaged[name], reader.read(f"average/{name}"))
        assert not torch.equal(averaged[name], raw[name])
    # Adam's own count of steps begins when a parameter does.
    steps = {name: int(reader.read(f"optimizer/net.{name}/step")) for name in optimized(whole)}
    assert {name.split(".")[0]: count for name, count in steps.items()} == {
        "fc": 6,
        "conv5": 4,
        "stage4": 2,
        "conv1": 2,
    }


def test_a_resumed_run_is_equal_to_the_bit(tmp_path: Path, whole: Path, start: dict[str, Tensor]) -> None:
    half = fit((*WORDS, STAGES, "trainer.max_steps=3"), tmp_path)
    assert changed(half, start) == {"fc", "conv5"}  # before its stage nothing moves
    copy = Path(shutil.copytree(half, tmp_path / "copy"))
    run = fit((f"resume={copy}", "trainer.max_steps=6"), tmp_path, base=())
    assert losses(run) == losses(whole)
    found = weights(run)
    for key, value in weights(whole).items():
        assert torch.equal(found[key], value), key


def test_dropping_gradients_and_taking_none_are_the_same(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks drop the gradients of frozen parameters, one device does not compute them."""
    monkeypatch.setattr(unfreeze, "SingleDeviceStrategy", type(None))
    run = fit((*WORDS, STAGES), tmp_path)
    assert worst_relative(losses(run), losses(whole)) < 1e-4  # measured: 4e-6, as other kernels compute the gradients
    assert optimized(run) == optimized(whole)


def test_a_mutant_without_it_is_seen(tmp_path: Path, start: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """If the statistics of frozen batch norms were updated, their modules would differ."""
    monkeypatch.setattr(unfreeze, "frozen_norms", lambda *_: [])
    run = fit((*WORDS, "callbacks=head_only"), tmp_path)
    assert changed(run, start) > {"fc"}


def test_which_norms_are_frozen() -> None:
    net = nn.Sequential(
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)),
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
        nn.LayerNorm(2),
    )
    assert frozen_norms(net, net[0].parameters()) == [net[0][1]]
    assert frozen_norms(net, net[1][1].parameters()) == [net[1][1]]
    assert frozen_norms(net, net.parameters()) == [net[0][1], net[1][1]]
    assert frozen_norms(net, []) == []


def test_stages_under_zero_are_refused() -> None:
    freezing = Freezing((TrainedPart(0, frozenset("a"), "a"), TrainedPart(1, frozenset("ab"), "b")), {"a": 1, "b": 1})
    with pytest.raises(ConfigError, match="strategy=deepspeed_zero2 updates all parameters together"):
        check_unfreezing({"strategy": {"name": "deepspeed_zero2"}}, freezing)
