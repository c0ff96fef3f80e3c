"""What W&B's SDK does not promise and is used here, for wandb 0.28 to 0.31. No torch."""

from __future__ import annotations

import json
from typing import Any

EXPERIMENTAL: dict[str, Any] = {
    # No sampling of the machine in the background: what is measured stands in metrics.csv.
    "x_disable_stats": True,
    # How much `wandb leet` lags behind, and how much of the offline record a SIGKILL takes with it.
    "x_transaction_log_flush_interval": 2.0,
}
"""Settings whose names W&B may change: what they do has no other name."""


def known_settings() -> Any:
    """Return what the environment and W&B's files say, without starting its service, as ``wandb.setup`` would."""
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings


def make_settings(chosen: dict[str, Any]) -> Any:
    """Return W&B's settings; those that this version does not know are left out."""
    import wandb

    known = wandb.Settings.model_fields
    return wandb.Settings(**{key: value for key, value in chosen.items() if key in known})


def recorded_step(line: str) -> int | None:
    """Return the step of a line that ``wandb leet inspect --json`` prints of a row of values; None of any other."""
    return int(json.loads(line)["history"]["item"]["_step"]) if '"type":"history"' in line else None
