"""Rewrites every second channel in graphs of ONNX, which engines are slow with or do not know.

``x[:, 0::2]`` and ``x[:, 1::2]`` are how a ShuffleNet that shuffles before its blocks splits channels. ncnn crops
without steps, but has a layer that shuffles channels. onnxruntime's slice with a step is slow on 8-bit integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

CHANNELS = 1
"""The axis."""
END = 2**31 - 1
"""Where a slice ends that has no end, or beyond."""


def constants(model: ModelProto) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays that a graph holds, by name."""
    from onnx import numpy_helper

    found = {array.name: array for array in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return {name: numpy_helper.to_array(array) for name, array in found.items()}


def strided(model: ModelProto) -> Iterator[tuple[NodeProto, int, int]]:
    """Yield the slices of channels that skip some: the node, the first channel and the step."""
    known = constants(model)
    for node in model.graph.node:
        if node.op_type != "Slice" or len(node.input) < 5 or any(name not in known for name in node.input[1:]):
            continue
        start, end, axis, step = (known[name].tolist() for name in node.input[1:5])
        if axis == [CHANNELS] and step[0] > 1 and start[0] >= 0 and end[0] >= END:
            yield node, start[0], step[0]


def as_gathers(model: ModelProto) -> int:
    """Replace, in place, slices that skip channels by gathers of the same ones; return how many.

    Slices of a tensor whose number of channels is not known stay.
    """
    from onnx import helper, numpy_helper

    sizes, done = _shapes(model), 0
    for node, start, step in list(strided(model)):
        shape = sizes.get(node.input[0], ())
        if len(shape) > CHANNELS and shape[CHANNELS] > 0:
            (source, result), name = (node.input[0], node.output[0]), f"{node.output[0]}_channels"
            wanted = np.arange(start, shape[CHANNELS], step)
            model.graph.initializer.append(numpy_helper.from_array(wanted, name))
            node.CopyFrom(helper.make_node("Gather", [source, name], [result], node.name or name, axis=CHANNELS))
            done += 1
    return done


def as_shuffles(model: ModelProto) -> int:
    """Replace, in place, the two slices of every second channel by a shuffle and a split; return how many pairs.

    A slice without its other half stays, as do those of a tensor (B, C, H, W) whose sizes are not all known.
    """
    sizes = _shapes(model)
    pairs: dict[str, dict[int, str]] = {}
    for node, start, step in strided(model):
        shape = sizes.get(node.input[0], ())
        if step == 2 and start < 2 and len(shape) == 4 and min(shape) > 0 and shape[CHANNELS] % 2 == 0:
            pairs.setdefault(node.input[0], {})[start] = node.output[0]
    pairs = {source: halves for source, halves in pairs.items() if len(halves) == 2}
    gone = {result: source for source, halves in pairs.items() for result in halves.values()}
    nodes: list[NodeProto] = []
    written = set()
    for node in model.graph.node:
        source = gone.get(node.output[0])
        if source is None:
            nodes.append(node)
        elif source not in written:
            written.add(source)
            nodes += _shuffle(model, source, sizes[source], [pairs[source][0], pairs[source][1]])
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return len(pairs)


def _shuffle(model: ModelProto, source: str, shape: Sequence[int], results: Sequence[str]) -> list[NodeProto]:
    """Return the nodes that bring the even channels of a tensor before the odd ones and split them."""
    from onnx import helper, numpy_helper

    batch, channels, height, width = shape
    numbers = {
        "apart": [batch, channels // 2, 2, height, width],
        "joined": [batch, channels, height, width],
        "halves": [channels // 2, channels // 2],
    }
    names = {word: f"{source}_{word}" for word in (*numbers, "pairs", "turned", "shuffled")}
    for word, values in numbers.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), names[word]))
    steps: tuple[tuple[str, list[str], list[str], dict[str, Any]], ...] = (
        ("Reshape", [source, names["apart"]], [names["pairs"]], {}),
        ("Transpose", [names["pairs"]], [names["turned"]], {"perm": [0, 2, 1, 3, 4]}),
        ("Reshape", [names["turned"], names["joined"]], [names["shuffled"]], {}),
        ("Split", [names["shuffled"], names["halves"]], list(results), {"axis": CHANNELS}),
    )
    return [helper.make_node(kind, taken, given, name=given[0], **more) for kind, taken, given, more in steps]


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what nodes give, by name; a size that is not known is 0."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim) for value in values}
