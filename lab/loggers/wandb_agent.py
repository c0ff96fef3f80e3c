"""What ``wandb agent`` tells a command that it starts for a sweep of W&B."""

from __future__ import annotations

import os

_SWEEP, _RUN = "WANDB_SWEEP_ID", "WANDB_RUN_ID"


def chosen_by_agent(run_id: str, highest: int) -> tuple[str, int]:
    """Return the id of the W&B run and the highest step sent to it: those of the agent's run, if an agent started us.

    Within a sweep the SDK uses the agent's id whatever ``wandb.init`` says. If that is another one than before, because
    a later run of the sweep has the same parameters, the W&B run has no step yet.

    Args:
        run_id: the id of this run directory so far.
        highest: the highest step sent to it.
    """
    agent = os.environ.get(_RUN, "") if os.environ.get(_SWEEP) else ""
    return (agent, -1) if agent and agent != run_id else (run_id, highest)
