"""Check correctness and measure speed on this machine's device, within a few minutes.

    python scripts/prove_on_gpu.py --minutes 8 --out proof
    python scripts/prove_on_gpu.py --minutes 2 --out proof --device cpu      # tests the script itself, smallest sizes
    python scripts/prove_on_gpu.py --minutes 3 --out proof --parts parity training

Parts, the most important first: parity (every architecture against its peer and the CPU), training (steps against the
peer), inference, strategies, kernels, resuming (a training to its metric, one killed and repeated), loading. Each runs
in its own process with a share of the time; unused time goes to the later parts. ``proof.json`` is rewritten after each
finding, ``summary.md`` has its tables, ``log.txt`` the output of the parts. The exit code is 1 if a check or a part has
failed, and 0 otherwise, also if time ran out: the summary lists what was not run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
from datetime import date
from pathlib import Path

# The check for a GPU must not initialise CUDA in this process, because it is forked later.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

PARTS = {
    "parity": 0.24,
    "training": 0.28,
    "inference": 0.10,
    "strategies": 0.12,
    "kernels": 0.03,
    "resuming": 0.15,
    "loading": 0.08,
}
"""Each part's share of the time."""


def clear(out: Path) -> None:
    """Remove the files of an earlier proof from the folder; nothing else is touched."""
    for folder in [*out.glob("runs-*"), out / "photos"]:
        if folder.is_dir():
            shutil.rmtree(folder)
    for name in ("proof.json", "summary.md", "log.txt"):
        (out / name).unlink(missing_ok=True)


def main() -> int:
    """Parse the command line, run the parts, write the summary."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything (default: 8)")
    parser.add_argument("--out", type=Path, required=True, help="folder for proof.json, summary.md and log.txt")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda if there is a GPU")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    options = parser.parse_args()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")

    from proof.machine import describe
    from proof.runner import run_parts
    from proof.summary import failures, summary

    # Imported before the forks, so that this takes time only once.
    for name in ("transformers", "torchvision", "lab.experiment.fit", "lab.cli.main", "lab.launch.targets"):
        importlib.import_module(name)
    modules = {name: importlib.import_module(f"proof.{name}") for name in options.parts}
    parts = {name: (module.run, PARTS[name]) for name, module in modules.items()}
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    clear(out)
    report = {"date": date.today().isoformat(), "command": " ".join(sys.argv), "machine": describe(device, out)}
    print(f"{report['machine']['device']}, torch {report['machine']['torch']}; at most {options.minutes:g} minutes")
    report = run_parts(parts, out, 60 * options.minutes, device, report, tiny=device == "cpu")
    text = summary(report)
    (out / "summary.md").write_text(text, encoding="utf-8")
    print(text)
    return 1 if failures(report) else 0


if __name__ == "__main__":
    sys.exit(main())
