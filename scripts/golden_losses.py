"""Golden loss curves: the losses of 20 training steps from fixed weights, in text files, to compare two commits.

    python scripts/golden_losses.py show detr_tiny            # print this checkout's curve: step, loss
    python scripts/golden_losses.py record detr_tiny          # write it to tests/golden/detr_tiny.txt
    python scripts/golden_losses.py compare HEAD~1 HEAD       # run two commits and compare their curves

A change that does not alter the computation must keep the curve. A change that does must record the curve again and say
so. Parameters are filled by a formula, because the same seed gives other numbers in another version of torch.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STEPS = 20


def fill(module: object) -> None:
    """Fill every parameter with a wave of its own phase and the scale of Glorot and Bengio's (2010) initialisation."""
    import torch

    with torch.no_grad():
        for number, (name, parameter) in enumerate(module.named_parameters()):  # type: ignore[attr-defined]
            wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7311 + number).view(
                parameter.shape
            )
            if parameter.ndim > 1 and "query_embed" not in name:
                fan = parameter[0].numel() + parameter.shape[0] * math.prod(parameter.shape[2:])
                parameter.copy_(wave * math.sqrt(6 / fan))
            elif parameter.ndim == 1:
                center = -4.0 if "class_embed" in name else 1.0 if "norm" in name and "weight" in name else 0.0
                parameter.copy_(wave * 0.02 + center)


def losses(model: str, steps: int = STEPS) -> list[float]:
    """Return the losses of the first steps of AdamW on generated scenes, batch 8, in float64 on one CPU thread.

    In float32 the rounding of another processor can change a match and so the curve; in float64 it cannot.
    """
    import torch

    import lab
    from lab.data.sampler import TrainBatches
    from lab.data.scenes.shapes import ShapesDataset
    from lab.ops.images import normalize_images
    from lab.tasks.detection.data.collate import collate_detection
    from lab.tasks.detection.data.shapes import ShapesDetection
    from lab.training.terms import batch_terms

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        data = ShapesDetection(ShapesDataset(split="train", num_samples=64, seed=0))
        net = lab.create_model(model, num_classes=len(data.class_names)).double().train()
        fill(net)
        parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-4, foreach=False)
        curve = []
        for keys in TrainBatches(len(data), 8, seed=0, max_steps=steps):
            batch = collate_detection([data[key] for key in keys])
            outputs = net(normalize_images(batch.images).double())
            loss = sum(batch_terms(net, outputs, batch.targets).values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.1)
            optimizer.step()
            curve.append(float(loss.detach()))
        return curve
    finally:
        torch.set_num_threads(threads)


def read(path: Path) -> list[float]:
    """Return the losses of a golden file."""
    return [
        float(line.split()[1]) for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]


def text(curve: list[float]) -> str:
    """Return the lines of a golden file."""
    return "".join(f"{step} {loss!r}\n" for step, loss in enumerate(curve, 1))


def _of_commit(commit: str, model: str) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "-q", "--detach", str(tree), commit], check=True)
        try:
            command = [sys.executable, str(tree / "scripts" / "golden_losses.py"), "show", model]
            environment = {"PYTHONPATH": str(tree), "PATH": ""}
            printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)], check=True)
    return [float(line.split()[1]) for line in printed.splitlines()]


def compare(first: str, second: str, model: str) -> int:
    """Print both commits' curves side by side; return 0 if they are equal to the last digit."""
    curves = [_of_commit(commit, model) for commit in (first, second)]
    print(f"step {first:>24} {second:>24}  relative difference")
    worst = 0.0
    for step, (one, two) in enumerate(zip(*curves, strict=True), 1):
        difference = abs(one - two) / abs(one)
        worst = max(worst, difference)
        print(f"{step:4d} {one!r:>24} {two!r:>24}  {difference:.1e}")
    print("equal" if worst == 0 else f"worst relative difference {worst:.1e}")
    return 0 if worst == 0 else 1


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("show", "record"):
        commands.add_parser(name).add_argument("model")
    comparing = commands.add_parser("compare")
    comparing.add_argument("first")
    comparing.add_argument("second")
    comparing.add_argument("--model", default="detr_tiny")
    arguments = parser.parse_args()
    if arguments.command == "compare":
        return compare(arguments.first, arguments.second, arguments.model)
    curve = text(losses(arguments.model))
    if arguments.command == "show":
        print(curve, end="")
    else:
        path = ROOT / "tests" / "golden" / f"{arguments.model}.txt"
        path.write_text(curve, encoding="utf-8")
        print(f"written {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
