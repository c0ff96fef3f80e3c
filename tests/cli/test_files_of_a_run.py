"""What a run leaves: its files, the fields of run.json, the columns of metrics.csv, as they are recorded in git."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.loggers.metrics_file import read_metrics
from tests.recorded import compare
from tests.runs import record

OF_STAGES = ("test-best", "validate-best", "predict-best")
"""Folders that other tests write beside the run."""
OPEN = ("versions", "result", "rows_read", "eval")
"""Mappings whose keys are names of packages, metrics, files or settings."""


def files(run: Path) -> list[str]:
    """Return the files of a run; ``*`` stands for numbers."""
    found = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
    kept = {str(path) for path in found if path.parts[0].partition("=")[0] not in OF_STAGES}
    kept -= {"uncommitted.diff"}  # there is one where the checkout has changes
    return sorted({"pictures/test-*.png" if path.startswith("pictures/test-") else path for path in kept})


def fields(content: dict[str, Any], path: str = "") -> list[str]:
    """Return the dotted keys of a record, down to where keys are names of something else."""
    found = []
    for key in sorted(content):
        below = isinstance(content[key], dict) and key not in OPEN and not path
        found += [f"{path}{key}", *(fields(content[key], f"{path}{key}.") if below else [])]
    return found


def test_files_fields_and_columns_are_those_recorded(detector: Path, segmenter: Path, recommender: Path) -> None:
    of_record = fields(record(detector))
    assert of_record == fields(record(segmenter)) == fields(record(recommender))
    lines = ["", "# fields of run.json", *(f"run.json:{field}" for field in of_record)]
    for kind, run in (("detection", detector), ("segmentation", segmenter), ("recommendation", recommender)):
        lines += ["", f"# {kind}: files", *files(run)]
        columns = sorted(read_metrics(run)[0])
        lines += ["", f"# {kind}: columns of metrics.csv", *(f"metrics.csv:{column}" for column in columns)]
    compare("run.txt", lines[1:], "tests/cli/test_files_of_a_run.py")
