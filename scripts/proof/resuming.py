"""Part 6: a training to its metric; a training that is killed and repeated gives the same bits."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from proof import jobs
from proof.runner import Proof

EXPECTED_MAP_50, TOLERANCE = 0.81, 0.06
"""The expected metric of the default config; experiments/README.md has the measured one."""


def run(proof: Proof) -> None:
    """Kill and resume first, because this takes less time."""
    proof.item("killed and resumed", partial(_resume, proof), 2)
    proof.item("to its metric", partial(_to_its_metric, proof), 2 if proof.tiny else 60)


def _to_its_metric(proof: Proof, found: dict[str, Any]) -> None:
    steps = 4 if proof.tiny else 1200
    start = time.monotonic()
    result = jobs.record_of(_train(proof, "runs-metric", _size(proof, steps)))["result"]
    found.update(steps=steps, minutes=(time.monotonic() - start) / 60, map_50=result["test/map_50"])
    if not proof.tiny:
        found["holds"] = found["map_50"] >= EXPECTED_MAP_50 - TOLERANCE


def _resume(proof: Proof, found: dict[str, Any]) -> None:
    steps, every, kill = (12, 3, 7) if proof.tiny else (120, 20, 70)
    words = [*_size(proof, steps), "trainer.deterministic=true", "trainer.log_every_n_steps=1"]
    words.append(f"trainer.checkpoint_every_n_steps={every}")
    whole = _train(proof, "runs-whole", words)
    broken = proof.folder / "runs-broken" / whole.name
    pid = jobs.command([*jobs.common_words(proof, "runs-broken"), *words])
    found["killed_at"] = jobs.kill_at(pid, broken, kill, time.monotonic() + proof.left)
    resumed = _train(proof, "runs-broken", words)
    found["resumed_at"] = jobs.record_of(resumed)["resumed_at"]
    rows = [_comparable(jobs.rows_of(run)) for run in (whole, resumed)]
    different = [one["step"] for one, other in zip(*rows, strict=True) if one != other]
    found.update(rows=len(rows[0]), different_rows=different[:8], holds=not different and bool(found["resumed_at"]))


def _train(proof: Proof, runs: str, words: list[str]) -> Any:
    jobs.done(jobs.command([*jobs.common_words(proof, runs), *words]))
    return jobs.only_run(proof.folder / runs)


def _size(proof: Proof, steps: int) -> list[str]:
    words = [f"trainer.max_steps={steps}", "callbacks.pictures=0"]
    if proof.tiny:
        words += ["scheduler.warmup_steps=2", "data.num_val=16", "data.num_test=16", "data.batch_size=4"]
    elif steps < 1200:
        words += ["scheduler.warmup_steps=10"]
    return words


def _comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in jobs.TIMES} for row in rows]
