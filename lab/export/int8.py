"""8-bit integers after training, for CPUs: onnxruntime's static quantisation of an ONNX file.

Weights are quantised for each output channel, activations by the smallest and largest values that images of the
training data give. What comes after the last convolutions and linear layers, and these themselves, stay in float32:
there the numbers of a detector become boxes and scores. In the file stand float operators between pairs that quantise
and dequantise ("QDQ"), which engines put together.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lab.errors import ExportError
from lab.export.graph import as_gathers

if TYPE_CHECKING:
    from onnx import ModelProto

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that have weights."""


@dataclass(frozen=True)
class Quantized:
    """What was quantised.

    Attributes:
        num_bytes: of the file.
        images: that it was calibrated on.
        quantized: operators with weights that compute with integers.
        floats: those that stay in float32, by name.
        seconds: that it took.
    """

    num_bytes: int
    images: int
    quantized: int
    floats: tuple[str, ...]
    seconds: float


def quantize(source: Path, target: Path, images: Tensor) -> Quantized:
    """Write an ONNX file that computes with 8-bit integers; its metadata is the source's, and ``int8`` on this.

    Args:
        source: of ``lab.export.onnx``, float32.
        target: the file to write.
        images: (N, 3, H, W) float32 from 0 to 1, of the size that the file takes.

    Raises:
        ExportError: nothing in it can be quantised, or there are too few images.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    start = time.perf_counter()
    model = onnx.load(source)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    as_gathers(model)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    if len(images) < batch:
        raise ExportError(f"{len(images)} images to calibrate on; the file takes {batch} at a time")
    with TemporaryDirectory(prefix="lab-int8-") as folder:
        given, prepared = Path(folder) / "given.onnx", Path(folder) / "prepared.onnx"
        onnx.save(model, given)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared)
        floats = tail(graph)
        weighted = [node.name for node in graph.graph.node if node.op_type in WEIGHTED]
        left = tuple(name for name in weighted if name in floats)
        if len(left) == len(weighted):
            raise ExportError(f"{source}: no convolution or linear layer but the last can be quantised")
        reader: Any = CalibrationFeeds(model.graph.input[0].name, images, batch)
        quantize_static(
            prepared,
            target,
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=sorted(floats),
        )
    written = onnx.load(target)
    del written.metadata_props[:]
    used = len(images) // batch * batch
    metadata["int8"] = json.dumps({"calibrated_on": used, "floats": left})
    for key, value in metadata.items():
        written.metadata_props.add(key=key, value=value)
    target.write_bytes(written.SerializeToString())
    taken = time.perf_counter() - start
    return Quantized(target.stat().st_size, used, len(weighted) - len(left), left, taken)


def tail(model: ModelProto) -> set[str]:
    """Return the names of the nodes behind which no operator has weights: the last of these, and what follows."""
    before: set[str] = set()  # tensors that reach an operator with weights
    names = set()
    for node in reversed(model.graph.node):
        if not before.intersection(node.output):
            names.add(node.name)
        if node.op_type in WEIGHTED or before.intersection(node.output):
            before.update(node.input)
    return names


class CalibrationFeeds:
    """Gives onnxruntime's calibration its images, a call at a time; speaks as its ``CalibrationDataReader`` does."""

    def __init__(self, name: str, images: Tensor, batch: int) -> None:
        self._feeds: Iterator[dict[str, Any]] = (
            {name: images[first : first + batch].numpy()} for first in range(0, len(images) - batch + 1, batch)
        )

    def get_next(self) -> dict[str, Any] | None:
        """Return the next inputs; None at the end."""
        return next(self._feeds, None)
