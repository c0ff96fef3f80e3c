"""Figures that timm publishes of its models, as CSV files where the project's data lies."""

from __future__ import annotations

import csv
import os
from functools import cache
from pathlib import Path

import pytest

TIMM_FILES = "oracles/timm_results"


def _rows(name: str) -> list[dict[str, str]]:
    path = Path(os.environ.get("LAB_DATA_DIR", "data")) / TIMM_FILES / name
    if not path.is_file():
        pytest.skip(f"timm's published figures are not at {path}")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def published_accuracies() -> dict[str, dict[str, str]]:
    """Return the rows of ``results-imagenet.csv`` by model and tag: ``top1``, ``top5``, ``img_size``, ..."""
    return {row["model"]: row for row in _rows("results-imagenet.csv")}


@cache
def published_costs() -> dict[tuple[str, int], tuple[float, float]]:
    """Return (millions of parameters, 1e9 multiplications) by model and image size, of ``benchmark-infer-...csv``."""
    rows = _rows("benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv")
    return {
        (row["model"], int(row["infer_img_size"])): (float(row["param_count"]), float(row["infer_gmacs"]))
        for row in rows
    }
