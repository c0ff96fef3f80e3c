"""What must stay cheap: the package, its names, the config and the launcher import no torch until it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted([*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "experiments").rglob("*.yaml")])
HEAVY = ("torch", "torchvision", "lightning", "transformers", "timm", "datasets", "wandb", "pandas", "scipy", "ray")


@pytest.mark.parametrize(
    "statement",
    [
        "import lab",
        "import lab; assert lab.list_models()",
        "import lab.errors",
        "import lab.registry.models",
        "import lab.run_directory",
        "import lab.config.checks, lab.config.compose, lab.config.schemas, lab.config.signatures",
        "import lab.cli.main, lab.sweeps.grid, lab.cli.usage",
        "import lab.sweeps.commands, lab.sweeps.view",
        "import lab.cli.new, lab.scaffold.making, lab.scaffold.showing",
        "import lab.cli.env, lab.cli.report, lab.sweeps.report, lab.report.html.live",
        "import lab.cli.runs, lab.report.records.listing, lab.report.records.reading, lab.sweeps.membership",
        "import lab.sweeps.run, lab.sweeps.worker, lab.sweeps.slurm, lab.sweeps.ray_cluster, lab.sweeps.ray_relay",
        "from lab.config.compose import compose_config; compose_config([])",
        "import lab; lab.compose('model=sasrec', 'data=sessions_synthetic')",
        "import lab; lab.compose('model=detr_tiny'); import sys; assert 'numpy' not in sys.modules",
        "import lab.geometry.script, lab.geometry.session, lab.geometry.words",
        "import lab; lab.Run; lab.ConfigError; dir(lab)",
    ],
)
def test_imports_nothing_heavy(statement: str) -> None:
    report = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{report}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_config_is_composed_within_a_second_and_a_half() -> None:
    """Seconds of the processor, the least of three, since tests share the machine: 0.65 (AMD EPYC, 2026-11-29)."""
    timed = (
        "import time; import lab; lab.compose('model=detr_tiny', optimizer={'lr': 1e-4}); print(time.process_time())"
    )
    command = [sys.executable, "-c", timed]
    runs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(done.stdout) for done in runs) < 1.5


NOT_TO_TRAIN = (
    "torch._dynamo.eval_frame",
    "sympy",
    "transformers",
    "torchvision",
    "timm",
    "datasets",
    "pandas",
    "wandb",
)
NOT_TO_TRAIN += (
    "wandb",
    "scipy.signal",
    "scipy.linalg",
    "torch.distributed.fsdp",
    "torchmetrics.text",
    "torchmetrics.image",
    "triton.runtime",
)


def test_a_training_imports_what_it_needs(tmp_path: Path) -> None:
    """Of the default model and data: no compiler, no other model library, nothing of other kinds of metric."""
    words = ["trainer.max_steps=1", "data.num_val=8", "data.num_test=8", "callbacks.pictures=0", "logger=csv"]
    program = f"""
import sys
from lab.__main__ import main
sys.argv = ["run.py", *{words}, "paths.runs_dir={tmp_path}"]
assert main() == 0
print("imported:", *[name for name in {NOT_TO_TRAIN} if name in sys.modules])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["imported:", "True"]


def test_a_check_imports_no_compiler(tmp_path: Path) -> None:
    """It counts activations with tensors without data, and some that have data meet them."""
    program = f"""
import sys
from lab.__main__ import main
sys.argv = ["run.py", "check=true", "paths.runs_dir={tmp_path}"]
assert main() == 0
names = "torch._dynamo.eval_frame torch._dynamo.exc triton.runtime".split()
print("imported:", *[name for name in names if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "activations" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"


def test_cycles_are_looked_for_as_usual_while_a_run_trains(tmp_path: Path) -> None:
    words = ["trainer.max_steps=1", "data.num_train=16", "data.num_val=8", "data.num_test=8", "callbacks.pictures=0"]
    program = f"""
import gc, sys
from lab.__main__ import main
from lab.callbacks.steps import StepLog
usual, step = gc.get_threshold(), StepLog.on_train_batch_end
seen = []
StepLog.on_train_batch_end = lambda *args: (seen.append(gc.get_threshold()), step(*args))
sys.argv = ["run.py", *{words}, "logger=csv", "paths.runs_dir={tmp_path}"]
assert main() == 0
assert seen == [usual], seen
assert gc.get_threshold() == usual
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_is_yaml_with_a_mapping(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
