"""Keeps W&B's own messages about a full disk or a dead service off the terminal; lab reports each trouble once."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def check_room(folder: Path) -> None:
    """Check that W&B can write: its service would silently lose what it cannot write.

    Raises:
        OSError: the disk has no block or no inode left.
    """
    try:
        status = os.statvfs(folder)
    except FileNotFoundError:
        return  # W&B creates it when it starts
    if not status.f_bavail or (status.f_files and not status.f_favail):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@contextmanager
def quiet_log(lost: Callable[[], None]) -> Iterator[None]:
    """Context in which W&B opens its ``debug.log``; ``lost`` is called when that can no longer be written.

    The logging module would print a traceback for each line.
    """
    before = logging.raiseExceptions
    logging.raiseExceptions = False
    try:
        yield
    finally:
        logging.raiseExceptions = before
        for handler in logging.getLogger("wandb").handlers:
            handler.handleError = lambda record: lost()  # type: ignore[method-assign]


def forget_service() -> None:
    """Close the connection to a dead service: otherwise W&B does so at exit, with a traceback."""
    import wandb

    with suppress(OSError, EOFError, AssertionError):  # the service is dead, which was reported before
        wandb.teardown()
