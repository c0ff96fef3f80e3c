"""ONNX (onnx.ai), run by onnxruntime: any network whose operators PyTorch's exporter can translate."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lab.checking import check_range
from lab.errors import ExportError
from lab.export.capture import CapturedGraph, capture, first_line
from lab.export.description import ExportDescription
from lab.export.formats import EngineRunner, ExportFormat, ExportOrder
from lab.export.suppression import SuppressedNetwork, suppress, suppressed

if TYPE_CHECKING:
    from onnx import ModelProto

OPSETS = (18, 23)
"""The oldest and the newest set of operators that PyTorch's exporter writes."""
OPSET = 20
LARGEST = 2**31 - 1
"""Bytes of a file; ONNX's format holds no more."""


class OnnxFormat(ExportFormat):
    """Writes an ``.onnx`` with all weights inside and the description as metadata. Options ``opset`` and ``nms``."""

    suffix = ".onnx"
    engine = "onnxruntime"
    needs = ("onnx", "onnxruntime", "onnxscript")

    def adapt(self, order: ExportOrder) -> ExportOrder:
        """Return the order of what suppression leaves, where the option ``nms`` asks for it."""
        return suppressed(order) if order.options.get("nms") else order

    def write(self, order: ExportOrder, path: Path) -> ExportDescription:
        """Write the file."""
        opset = order.options.get("opset") or OPSET
        check_range("opset", opset, *OPSETS)
        net = order.net.inner if isinstance(order.net, SuppressedNetwork) else order.net
        captured = capture(net, order.images, order.dynamic)
        found = order.description.with_format("onnx", captured.symbols, captured.fixed, opset=opset)
        model = translated(net.output_names, captured, opset)
        _name_dimensions(model, captured.symbols)
        if isinstance(order.net, SuppressedNetwork):
            suppress(model, order.net.thresholds, order.net.num_classes)
        for key, value in found.to_plain().items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            model.metadata_props.add(key=key, value=text)
        size = model.ByteSize()
        if size > LARGEST:
            raise ExportError(f"the network takes {size / 1e9:.1f} GB; a file of ONNX holds 2.1 GB at most")
        path.write_bytes(model.SerializeToString())
        return found

    def load(self, path: Path, description: ExportDescription) -> EngineRunner:
        """Return a session of onnxruntime."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def run(images: Tensor) -> Sequence[Tensor]:
            return [torch.from_numpy(part) for part in session.run(None, {"images": images.numpy()})]

        return run


def translated(names: Sequence[str], captured: CapturedGraph, opset: int) -> ModelProto:
    """Return a graph in ONNX's operators.

    Args:
        names: of the outputs; the input is called images.
        captured: the graph.
        opset: the set of operators.

    Raises:
        ExportError: an operator has no translation; it is named, with the module that calls it.
    """
    from torch.onnx.errors import OnnxExporterError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own parts
            written: Any = torch.onnx.export(
                captured.program,
                input_names=["images"],
                output_names=list(names),
                opset_version=opset,
                verbose=False,
            )
    except (OnnxExporterError, RuntimeError) as error:
        raise ExportError(f"ONNX: {untranslated(captured, error)}") from error
    model: ModelProto = written.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # where in the sources it is from, with the paths of this machine
    return model


def untranslated(captured: CapturedGraph, error: BaseException) -> str:
    """Return what the exporter could not translate: the operators and the modules that call them."""
    text = "\n".join(str(each) for each in _chain(error))
    named = set(re.findall(r"<?OpOverload\(op='([\w.]+)'|No ONNX function found for .*?([\w]+\.[\w.]+)", text))
    wanted = {first or second for first, second in named}
    places = [
        f"{node.target} in {_module_of(node.meta)}"
        for node in captured.program.graph.nodes
        if node.op == "call_function" and any(name.replace("::", ".") in str(node.target) for name in wanted)
    ]
    if named:  # what an operator of the graph was taken apart into stands in no module
        return "no translation of " + ", ".join(dict.fromkeys(places) or sorted(wanted))
    return first_line(_chain(error)[-1])


def _chain(error: BaseException | None) -> Sequence[BaseException]:
    found: list[BaseException] = []
    while error is not None:
        found.append(error)
        error = error.__cause__
    return found


def _module_of(meta: Mapping[str, Any]) -> str:
    stack = list(meta.get("nn_module_stack", {}).values())
    if not stack:
        return "the network itself"
    name, kind = stack[-1]
    return f"{name or 'the network'} ({str(kind).rpartition('.')[2]})"


def _name_dimensions(model: ModelProto, symbols: Mapping[str, str]) -> None:
    """Name the open dimensions of inputs and outputs; sizes in between are left for the engine to find."""
    names = {symbol: label for label, symbol in symbols.items()}
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = names.get(dimension.dim_param, "boxes")
