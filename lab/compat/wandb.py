"""Undocumented parts of W&B's SDK that are used, for wandb 0.28 to 0.31. No torch."""

from __future__ import annotations

import json
from typing import Any

EXPERIMENTAL: dict[str, Any] = {
    # The delay of `wandb leet`, and the part of the offline record that a SIGKILL loses.
    "x_transaction_log_flush_interval": 2.0,
}
"""Settings whose names W&B may change; there is no stable name for them."""


def system_settings(interval: float | None) -> dict[str, Any]:
    """Return the settings of W&B's sampling of CPU, memory, disk and GPU.

    Args:
        interval: seconds between samples; None for no sampling.
    """
    return {"x_disable_stats": True} if interval is None else {"x_stats_sampling_interval": interval}


def known_settings() -> Any:
    """Return the settings of the environment and W&B's files, without starting its service as ``wandb.setup`` does."""
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings


def make_settings(chosen: dict[str, Any]) -> Any:
    """Return W&B's settings, without those that this version does not know."""
    import wandb

    known = wandb.Settings.model_fields
    return wandb.Settings(**{key: value for key, value in chosen.items() if key in known})


def recorded_step(line: str) -> int | None:
    """Return the step of a line of ``wandb leet inspect --json``, if it is a row of values; otherwise None."""
    return int(json.loads(line)["history"]["item"]["_step"]) if '"type":"history"' in line else None


def view_content(view: Any) -> dict[str, Any]:
    """Return what saving a workspace or report of wandb-workspaces would send; its only public way is to send it."""
    model = view._to_model()
    content: dict[str, Any] = model.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"name": model.display_name, "spec": content}
