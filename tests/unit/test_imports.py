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
        "import lab.cli.report, lab.sweeps.report, lab.report.html.live",
        "import lab.sweeps.run, lab.sweeps.worker, lab.sweeps.slurm, lab.sweeps.ray_cluster, lab.sweeps.ray_relay",
        "from lab.config.compose import compose_config; compose_config([])",
        "import lab; lab.compose('model=sasrec', 'data=sessions_synthetic')",
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
    """Seconds of the processor, not of the clock, since tests share the machine: 0.61 (AMD EPYC, 2026-11-28)."""
    timed = (
        "import time; import lab; lab.compose('model=detr_tiny', optimizer={'lr': 1e-4}); print(time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", timed], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.5


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_is_yaml_with_a_mapping(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
