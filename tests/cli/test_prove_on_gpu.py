"""The GPU's proof, tried on a CPU with its smallest sizes; what it does with parts that fail, hang and die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.mark.slow
def test_the_whole_proof_on_a_cpu(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    command = [sys.executable, str(SCRIPTS / "prove_on_gpu.py"), "--minutes", "5", "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, env=environment, check=False)
    report = json.loads((tmp_path / "proof.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    parts = report["parts"]
    assert list(parts) == ["parity", "training", "inference", "strategies", "kernels", "resuming", "loading"]
    # On a busy machine part 1 is cut short; all others take seconds.
    assert {name: part["state"] for name, part in parts.items() if name != "parity"} == dict.fromkeys(
        list(parts)[1:], "done"
    )
    parity = parts["parity"]["findings"]
    assert parity["resnet18"]["against"] == "the peer"
    assert parity["resnet18"]["fp32"] < 1e-5
    assert parity["resnet18"]["mutant_seen"]
    assert parity["yolo_fastest_v2"]["fp32"] < 1e-5
    assert parts["training"]["findings"]["resnet18, fp32"]["samples_per_s_of_peer"] > 0
    assert parts["training"]["findings"]["gru4rec, as a CUDA graph"]["not_run"] == "needs CUDA"
    assert parts["inference"]["findings"]["ranking among all items"]["queries_per_s"] > 0
    assert all(parts["strategies"]["findings"][name]["holds"] for name in ("single", "ddp", "fsdp"))
    resumed = parts["resuming"]["findings"]["killed and resumed"]
    assert resumed["holds"]
    assert resumed["resumed_at"] == [6]
    assert resumed["rows"] == 12
    assert 0 <= parts["loading"]["findings"]["training on JPEGs, 0 workers"]["share_of_waiting"] <= 1
    assert "## Does not hold\n\n- nothing\n" in (tmp_path / "summary.md").read_text()


@pytest.mark.usefixtures("scripts")
def test_every_registered_model_has_a_place_in_the_proof() -> None:
    from benchmarks.registry import PLANNED, SUBJECTS

    import lab

    names = [name for subject in SUBJECTS.values() for name in subject.names]
    assert sorted(names) == sorted(lab.list_models())
    assert not set(PLANNED) & set(names)


def sound(proof: Any) -> None:
    proof.item("first", lambda found: found.update(value=1.5, holds=True))
    proof.item("second", lambda found: found.update(value=2, wrong_holds=False, holds=False))
    proof.item("late", lambda found: found.update(value=3), needs=1e6)


def raising(proof: Any) -> None:
    proof.item("before", lambda found: found.update(value=1))
    proof.item("failing", lambda found: [][0])
    raise ValueError("the part itself")


def hanging(proof: Any) -> None:
    proof.say("before", value=1)
    if os.fork() == 0:  # a loader, say, that holds the pipe open
        time.sleep(60)
    time.sleep(60)


def dying(proof: Any) -> None:
    proof.say("before", value="x" * 100_000)
    os.kill(os.getpid(), signal.SIGKILL)


def leaving(proof: Any) -> None:
    if os.fork() == 0:
        time.sleep(60)
    proof.say("done", value=1)


@pytest.mark.usefixtures("scripts")
def test_a_part_costs_only_itself(tmp_path: Path) -> None:
    from proof.runner import run_parts
    from proof.summary import failures, not_run, summary

    parts = {part.__name__: (part, 1.0) for part in (raising, hanging, dying, leaving, sound)}
    start = time.monotonic()
    report = run_parts(parts, tmp_path, 20, "cpu", {"date": "today", "command": "prove", "machine": {"device": "none"}})
    assert time.monotonic() - start < 15
    assert report == json.loads((tmp_path / "proof.json").read_text())
    states = {name: part["state"] for name, part in report["parts"].items()}
    assert states == {
        "raising": "failed",
        "hanging": "out of time",
        "dying": "failed",
        "leaving": "done",
        "sound": "done",
    }
    found = {name: part["findings"] for name, part in report["parts"].items()}
    line = raising.__code__.co_firstlineno + 2
    assert found["raising"]["failing"]["error"] == f"IndexError: list index out of range (test_prove_on_gpu.py:{line})"
    assert found["hanging"] == {"before": {"value": 1}}
    assert len(found["dying"]["before"]["value"]) == 100_000
    assert found["sound"]["first"]["value"] == 1.5
    assert failures(report) == [
        "raising: exit code 1; see log.txt",
        f"raising, failing: IndexError: list index out of range (test_prove_on_gpu.py:{line})",
        "dying: signal SIGKILL; see log.txt",
        "sound, second: does not hold (wrong_holds)",
    ]
    assert [line.partition(":")[0] for line in not_run(report)] == ["hanging", "sound, late"]
    assert "ValueError: the part itself" in (tmp_path / "log.txt").read_text()
    assert "| first | 1.5 | yes |" in summary(report)


@pytest.mark.usefixtures("scripts")
def test_no_time_is_no_failure(tmp_path: Path) -> None:
    from proof.runner import run_parts

    report = run_parts({"sound": (sound, 1.0)}, tmp_path, 0.5, "cpu", {})
    assert report["parts"]["sound"]["state"] == "not run"


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [("NVIDIA H100 80GB HBM3", "bf16-mixed", 989e12), ("NVIDIA H100 PCIe", "fp32", 51e12), ("Some GPU", "fp32", None)],
)
def test_peaks_are_found_by_the_device_name(name: str, precision: str, peak: float | None) -> None:
    from proof.clock import peak_of

    assert peak_of(name, precision) == peak


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("layer", ["each channel", "groups", "all channels", "transposed"])
def test_a_backward_pass_takes_twice_the_operations(layer: str) -> None:
    """torch's own counter says nine, five, two and two times."""
    import torch
    from benchmarks.counting import FORMULAS
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    layers = {
        "each channel": nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        "groups": nn.Conv2d(8, 12, 1, groups=4),
        "all channels": nn.Conv2d(8, 12, 3, padding=1),
        "transposed": nn.ConvTranspose2d(8, 12, 3, 2),
    }
    with FlopCounterMode(display=False) as forward:
        out = layers[layer](torch.randn(2, 8, 9, 11, requires_grad=True))
    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as backward:
        out.sum().backward()
    assert backward.get_total_flops() == 2 * forward.get_total_flops()
