"""What W&B says on its own when its folder is full or its service is gone, kept from the terminal: we say it once."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def check_room(folder: Path) -> None:
    """Check that W&B can write: its service loses what it cannot, without a word.

    Raises:
        OSError: the disk has no block or no inode left.
    """
    try:
        status = os.statvfs(folder)
    except FileNotFoundError:
        return  # it is made when W&B starts
    if not status.f_bavail or (status.f_files and not status.f_favail):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@contextmanager
def quiet_log(lost: Callable[[], None]) -> Iterator[None]:
    """Within this context W&B opens its ``debug.log``; call ``lost`` when, from then on, it cannot be written.

    The logging module would print a traceback for each of its lines.
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
    """Take leave of a service that has died: W&B would do it at exit, with a traceback."""
    import wandb

    with suppress(OSError, EOFError, AssertionError):  # it is gone, which was said when it went
        wandb.teardown()
