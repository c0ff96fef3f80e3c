"""The progress bar of a notebook: one cell output that is replaced as the training goes on. Needs no ipywidgets."""

from __future__ import annotations

import io
import time
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskID

_SECONDS = 0.25
"""The shortest time between two drawings of the bar."""
_WIDTH = 110


class NotebookProgress(Progress):
    """A ``Progress`` that IPython displays.

    Args:
        columns: as for ``Progress``.
        console: where permanent lines are printed.
    """

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        self._handle: Any = None
        self._shown = 0.0
        super().__init__(*columns, console=console, auto_refresh=False, disable=True)

    def start(self) -> None:
        """Show the bar below the cell."""
        from IPython.display import display

        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def refresh(self) -> None:
        """Redraw the bar, but not more often than the eye can follow."""
        if time.monotonic() - self._shown > _SECONDS:
            self._show()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Advance the bar."""
        super().update(task_id, **changes)
        self.refresh()

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._handle is not None:
            self._show()
            self._handle = None

    def _show(self) -> None:
        self._shown = time.monotonic()
        if self._handle is None:
            return
        page = Console(file=io.StringIO(), width=_WIDTH, force_jupyter=False, no_color=True)
        page.print(self.get_renderable())
        assert isinstance(page.file, io.StringIO)
        self._handle.update({"text/plain": page.file.getvalue().rstrip()}, raw=True)
