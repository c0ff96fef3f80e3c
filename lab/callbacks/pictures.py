"""Pictures of the truth beside the prediction, for the first images of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl

from lab.report.canvas import contact_sheet
from lab.report.sounds import SoundPanel, page_of_sounds
from lab.system.files import write_text
from lab.training.spec import Panels

if TYPE_CHECKING:
    from PIL.Image import Image


class Pictures(pl.Callback):
    """Save a picture of each of the first images that rank 0 evaluates, and a sheet of all of them.

    Of sounds it saves each as WAVE beside its picture, and a page on which they can be played.

    Args:
        folder: where the pictures go.
        split: the beginning of their file names.
        count: the largest number of pictures; 0 for none.
        panels: the function that draws a batch; None where there is nothing to draw.

    Attributes:
        sheet: all pictures on one sheet, after the evaluation.
    """

    def __init__(self, folder: Path, split: str, count: int, panels: Panels | None) -> None:
        self.folder, self.split, self.count, self.draw = folder, split, count, panels
        self.panels: list[Image] = []
        self.sounds: list[SoundPanel] = []
        self.sheet: Image | None = None

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *args: Any) -> None:
        """Draw, while there is room."""
        self._draw(trainer, pl_module, outputs, batch)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *args: Any) -> None:
        """Draw, while there is room."""
        self._draw(trainer, pl_module, outputs, batch)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the sheet."""
        self._save_sheet()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the sheet."""
        self._save_sheet()

    def _save_sheet(self) -> None:
        if self.panels:
            self.sheet = contact_sheet(self.panels)
            self.sheet.save(self.folder / f"{self.split}.png")
        if self.sounds:
            write_text(self.folder / f"{self.split}.html", page_of_sounds(self.sounds, self.split))

    def _draw(self, trainer: pl.Trainer, task: Any, outputs: Any, batch: Any) -> None:
        if self.draw is None or not trainer.is_global_zero or len(self.panels) >= self.count:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for panel in self.draw(task, outputs, batch, self.count - len(self.panels)):
            path = self.folder / f"{self.split}-{len(self.panels):03d}.png"
            if isinstance(panel, SoundPanel):
                self.sounds.append(panel)
                path.with_suffix(".wav").write_bytes(panel.wave())
                panel = panel.picture
            self.panels.append(panel)
            panel.save(path)
