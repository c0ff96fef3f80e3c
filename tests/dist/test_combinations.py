"""Which settings go with which strategy, tried on two gloo ranks; the table in lab/strategies/README.md is its result.

``LAB_WRITE_TABLE=1 pytest tests/dist/test_combinations.py`` tries every cell and writes the table anew;
without it the cells of ``ALWAYS`` are tried and held against the table.
"""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path

import pytest

from lab.errors import LabError
from tests.dist.harness import fit, losses, worst_relative
from tests.distributed import run_distributed
from tests.runs import ROOT

BEGIN, END = "<!-- tried: begin -->\n", "<!-- tried: end -->"
README = ROOT / "lab" / "strategies" / "README.md"
STRATEGIES = {
    "ddp": (),
    "fsdp": (),
    "deepspeed_zero2": (),
    "deepspeed_zero3": ("strategy.persistence_threshold=0",),
    "deepspeed_zero3_offload": ("strategy.persistence_threshold=0",),
    "tensor_parallel": (),
    "dp": ("trainer.devices=2",),
}
SETTINGS = {
    "32": (),
    "ema": ("callbacks=ema", "callbacks.ema.decay=0.9"),
    "bf16-mixed": ("trainer.precision=bf16-mixed",),
    "16-mixed": ("trainer.precision=16-mixed",),
    "bf16-true": ("trainer.precision=bf16-true",),
    "64": ("trainer.precision=64",),
    "compile": ("trainer.compile=aot_eager",),
    "batch norm": ("model.net.backbone=resnet18", "model.net.backbone_norm=batch_norm", "data.image_size=64"),
    "recomputing": ("strategy.activation_checkpointing=true",),
}
ALWAYS = ("ema", "64", "recomputing")
WRITE = bool(os.environ.get("LAB_WRITE_TABLE"))
BASE = ("optimizer=adamw", "trainer.max_steps=3", "trainer.val_every_n_steps=3")
EQUAL, CLOSE = 1e-5, 0.05


def chosen() -> dict[str, tuple[str, ...]]:
    """Return the settings to try: all of them to write the table, a few to hold it against what is so."""
    return {name: words for name, words in SETTINGS.items() if WRITE or name in ALWAYS}


def attempt(words: tuple[str, ...], folder: Path, rank: int, world_size: int) -> list[float] | str:
    """Return the losses of a fit, or the line that refuses it."""
    try:
        return losses(fit((*BASE, *words), folder, rank, world_size))
    except LabError as error:
        return str(error)


def on_ranks(rank: int, folder: str) -> dict[str, list[float] | str]:
    results = {}
    for strategy, more in STRATEGIES.items():
        for setting, words in chosen().items():
            if setting != "recomputing" or strategy == "fsdp":
                key = f"{strategy} {setting}"
                all_words = (*words, f"strategy={strategy}", *more)
                if strategy != "dp":
                    results[key] = attempt(all_words, Path(folder) / key.replace(" ", "-"), rank, 2)
    return results


def verdict(result: list[float] | str, alone: list[float] | str) -> str:
    """Put a result into a word of the table."""
    if isinstance(result, str):
        return "refused"
    assert all(math.isfinite(loss) for loss in result)
    assert not isinstance(alone, str)
    worst = worst_relative(result, alone)
    assert worst < CLOSE
    return "equal" if worst < EQUAL else "trains"


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="the table has rows of deepspeed")
def test_the_table_says_what_works(tmp_path: Path) -> None:
    alone = {
        setting: attempt(words if setting != "recomputing" else (), tmp_path / "alone", 0, 1)
        for setting, words in chosen().items()
    }
    results = run_distributed(on_ranks, args=(str(tmp_path),))[0]
    for setting, words in chosen().items():
        if setting != "recomputing":
            results[f"dp {setting}"] = attempt((*words, "strategy=dp", *STRATEGIES["dp"]), tmp_path / "dp", 0, 1)
    cells = {key: verdict(result, alone[key.split(" ", 1)[1]]) for key, result in results.items()}
    reasons: dict[tuple[str, str], list[str]] = {}
    for key, result in results.items():
        if isinstance(result, str):
            strategy, setting = key.split(" ", 1)
            reason = " ".join(result.split()).rpartition("): ")[2]
            reasons.setdefault((setting, reason), []).append(f"`{strategy}`")
    notes = [f"- {setting} under {', '.join(names)}: {reason}" for (setting, reason), names in reasons.items()]
    text = README.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    if WRITE:
        README.write_text(text[:begin] + layout(cells) + "\n\n" + "\n".join(notes) + "\n" + text[end:])
        return
    written = read_cells(text[begin:end])
    assert {key: written[key] for key in cells} == cells, "see the docstring of this file"


def layout(cells: dict[str, str]) -> str:
    """Return the table: a row for each strategy, a column for each setting."""
    rows = [["strategy", *SETTINGS], ["---"] * (len(SETTINGS) + 1)]
    rows += [[f"`{name}`", *(cells.get(f"{name} {setting}", "") for setting in SETTINGS)] for name in STRATEGIES]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def read_cells(table: str) -> dict[str, str]:
    """Return what ``layout`` wrote."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return {
        f"{row[0].strip('`')} {name}": cell for row in rows[2:] for name, cell in zip(rows[0][1:], row[1:], strict=True)
    }
