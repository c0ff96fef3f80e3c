"""What is known about W&B before a run starts: whether an API key is configured, and the steps of offline records."""

from __future__ import annotations

import netrc
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab.compat.wandb import recorded_step


def choose_mode(mode: str, settings: Any) -> tuple[str, str]:
    """Return online, offline or disabled, and the reason in words."""
    configured = {"dryrun": "offline", "run": "online"}.get(settings.mode, settings.mode)
    if mode in ("offline", "disabled"):
        return mode, f"logger.wandb.mode={mode}"
    if mode == "auto" and configured in ("offline", "disabled"):
        return configured, f"W&B is set to {configured} (WANDB_MODE or `wandb {configured}`)"
    if _has_key(settings):
        return "online", "a key is configured"
    return "offline", "no key is configured" + (", though online is asked for" if mode == "online" else "")


def _has_key(settings: Any) -> bool:
    """Whether an API key is configured where W&B looks for one. Asking W&B itself would prompt the user."""
    if settings.api_key or settings.identity_token_file:
        return True
    names = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    path = next((path for name in names if (path := Path(name).expanduser()).exists()), None)
    if path is None:
        return False
    hosts = [urlsplit(settings.base_url).netloc]
    if settings.base_url == type(settings)().base_url:
        hosts.append("api.wandb.ai")  # `wandb login` wrote this before the default server was renamed
    try:
        accounts = netrc.netrc(path)
    except (netrc.NetrcParseError, OSError) as error:
        warnings.warn(f"W&B: {path} cannot be read ({error}); taken as holding no key", stacklevel=2)
        return False
    return any(accounts.authenticators(host) for host in hosts)


def last_step(folders: Sequence[Path]) -> int | None:
    """Return the highest step recorded in offline folders, oldest first, -1 if none; None if this W&B cannot tell.

    The end of a killed process's offline record is lost, since W&B's service had not written it yet.
    """
    for folder in reversed(folders):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        steps: list[int] = []
        readable = False
        # The record of a killed process is cut off, which the command reports on stderr; this is not a failure.
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                readable = readable or line.startswith("{")
                step = recorded_step(line)
                steps += [] if step is None else [step]
        if not readable:
            return None
        if steps:
            return max(steps)
    return -1
