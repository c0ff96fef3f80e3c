"""The format of ``torch.export``: a graph of PyTorch's operators, which runs without the sources of the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lab.export.capture import capture
from lab.export.description import ExportDescription
from lab.export.formats import EngineRunner, ExportFormat, ExportOrder

EXTRA_FILE = "lab.json"
"""The description within the archive."""


class TorchExportFormat(ExportFormat):
    """Writes a ``.pt2``; ``torch.export.load(FILE, extra_files={"lab.json": ""})`` reads it and the description."""

    suffix = ".pt2"
    engine = "torch.export"

    def write(self, order: ExportOrder, path: Path) -> ExportDescription:
        """Write the archive; it holds no example of an input."""
        captured = capture(order.net, order.images, order.dynamic)
        found = order.description.with_format("torch_export", captured.symbols, captured.fixed, torch=torch.__version__)
        torch.export.save(captured.program, path, extra_files={EXTRA_FILE: found.to_json()})
        return found

    def load(self, path: Path) -> EngineRunner:
        """Return the loaded program."""
        program = torch.export.load(path).module()

        def run(images: Tensor) -> Sequence[Tensor]:
            with torch.no_grad():
                outputs: Sequence[Tensor] = program(images)
            return outputs

        return run
