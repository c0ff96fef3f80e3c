"""Describes the machine of a proof."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from proof.jobs import asked

from lab.system.provenance import describe_machine

PACKAGES = ("torch", "torchvision", "triton", "lightning", "transformers", "timm", "torchmetrics")


def describe(device: str, folder: Path) -> dict[str, Any]:
    """Return the device's name and driver, the host, and the versions of the libraries.

    Args:
        device: ``"cuda"`` or ``"cpu"``.
        folder: where a child process that queries the device may write.
    """
    found = {**describe_machine(), "threads": torch.get_num_threads()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    found["torch"] = torch.__version__
    found["device"] = found["cpu"]
    if device == "cuda":
        found.update(asked(_cuda, folder))
    return found


def _cuda() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        driver = f"nvidia-smi failed: {error}"
    return {
        "device": properties.name,
        "memory_of_device_gib": round(properties.total_memory / 2**30, 1),
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver, clock, power": driver,
    }
