"""The formats by name. No torch: the command line reads them."""

from __future__ import annotations

FORMATS = {
    "onnx": "lab.export.onnx:OnnxFormat",
    "torch_export": "lab.export.torch_export:TorchExportFormat",
}
"""``module:Class`` of each format, a ``lab.export.formats.ExportFormat``."""
