"""ONNX's own suppression behind a network's boxes, so that a file of a detector gives what is left (``--nms``).

Letters in shapes: B images, N boxes of the network, M boxes that are left at most, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lab.errors import ExportError
from lab.export.comparison import BOXES
from lab.export.formats import ExportOrder
from lab.export.network import ExportNetwork, NamedOutputs
from lab.ops.boxes import in_originals, reach_into

if TYPE_CHECKING:
    from onnx import ModelProto

COUNT = "count"
OUTPUTS = {
    "boxes": "(batch, kept, 4) xyxy in pixels of the input, best first; 0 beyond count",
    "scores": "(batch, kept) from 0 to 1; 0 beyond count",
    "labels": "(batch, kept) int64, places in class_names; 0 beyond count",
    COUNT: "(batch) int64, the number of boxes of each image",
}
NEEDED = ("min_score", "nms_iou", "max_boxes")


class SuppressedNetwork(NamedOutputs):
    """A network and the suppression of its boxes by torchvision, to compare a file with.

    Args:
        inner: a network that gives boxes, scores and labels.
        thresholds: those in ``NEEDED``.
        num_classes: K.
    """

    def __init__(self, inner: NamedOutputs, thresholds: dict[str, float], num_classes: int) -> None:
        super().__init__()
        self.inner, self.thresholds, self.num_classes = inner, thresholds, num_classes

    @property
    def output_names(self) -> tuple[str, ...]:
        """See ``OUTPUTS``."""
        return tuple(OUTPUTS)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return what ``OUTPUTS`` says for images (B, 3, H, W)."""
        from torchvision.ops import batched_nms

        boxes, scores, labels = self.inner(images)
        sizes = torch.tensor([images.shape[2:]] * len(images), dtype=boxes.dtype)
        scores = scores * reach_into(boxes, sizes[:, None])
        most = min(int(self.thresholds["max_boxes"]), boxes.shape[1])
        left = [part.new_zeros(len(part), most, *part.shape[2:]) for part in (boxes, scores, labels)]
        count = torch.zeros(len(boxes), dtype=torch.int64)
        for row, score in enumerate(scores):  # a comparison of a few images
            (place,) = (score > self.thresholds["min_score"]).nonzero(as_tuple=True)
            given = (boxes[row, place].double(), score[place].double(), labels[row, place])
            place = place[batched_nms(*given, self.thresholds["nms_iou"])[:most]]
            count[row] = len(place)
            for part, whole in zip(left, (boxes, scores, labels), strict=True):
                part[row, : len(place)] = whole[row, place]
        left[0] = in_originals(left[0], sizes, sizes, clip=True)
        return (*left, count)


def suppressed(order: ExportOrder) -> ExportOrder:
    """Return an order for the boxes that are left.

    Raises:
        ExportError: the network does not suppress.
    """
    net, thresholds = order.net, dict(order.description.thresholds)
    if (
        net.output_names != BOXES
        or any(name not in thresholds for name in NEEDED)
        or not isinstance(net, ExportNetwork)
    ):
        raise ExportError(
            f"--nms: {order.description.name} does not suppress boxes, so its file gives its answer already"
        )
    description = replace(order.description, outputs=OUTPUTS)
    num_classes = int(net.net.num_classes)  # type: ignore[arg-type]
    return replace(order, net=SuppressedNetwork(net, thresholds, num_classes), description=description)


def suppress(model: ModelProto, thresholds: dict[str, float], num_classes: int) -> None:
    """Add the suppression to a graph with the outputs boxes, scores and labels, in place.

    Each class is suppressed for itself. A fixed number of boxes is returned for each image, the best ones.

    Args:
        model: of a network before suppression.
        thresholds: those in ``NEEDED``.
        num_classes: K.
    """
    graph = _Graph(model)
    boxes, scores, labels = (graph.renamed(name) for name in BOXES)
    sides = graph.sides()
    scores = graph.node("Mul", scores, graph.reaching(boxes, sides))
    of_class = graph.node("OneHot", labels, graph.number(num_classes), graph.number([0.0, 1.0], np.float32), axis=1)
    of_class = graph.node("Mul", of_class, graph.node("Unsqueeze", scores, graph.number([1])))  # (B, K, N)
    most = graph.number([int(thresholds["max_boxes"])])
    limits = [graph.number([thresholds[name]], np.float32) for name in ("nms_iou", "min_score")]
    kept = graph.node("NonMaxSuppression", boxes, of_class, most, *limits)  # rows of image, class, box
    kept = graph.node("Gather", kept, graph.number([0, 2]), axis=1)
    shape = graph.node("Shape", scores)
    nothing = graph.node("ConstantOfShape", shape)
    kept_scores = graph.node("ScatterND", nothing, kept, graph.node("GatherND", scores, kept))  # (B, N), others are 0
    best, place = graph.nodes(
        "TopK", kept_scores, graph.node("Min", most, graph.node("Gather", shape, graph.number([1])))
    )
    there = graph.node("Greater", best, graph.number(0.0, np.float32))
    there_int = graph.node("Cast", there, to=7)  # int64
    found = graph.node("GatherND", boxes, graph.node("Unsqueeze", place, graph.number([2])), batch_dims=1)
    found = graph.node("Min", graph.node("Max", found, graph.number(0.0, np.float32)), sides)
    no_box = graph.number(0.0, np.float32)
    graph.output("boxes", "Where", graph.node("Unsqueeze", there, graph.number([2])), found, no_box, sides=(4,))
    graph.output("scores", "Identity", best)
    found = graph.node("GatherElements", labels, place, axis=1)
    graph.output("labels", "Mul", found, there_int, kind=7)
    graph.output(COUNT, "ReduceSum", there_int, graph.number([1]), kind=7, kept=False, keepdims=0)


class _Graph:
    """Adds nodes to a graph whose outputs become inner values.

    Args:
        model: is changed.
    """

    def __init__(self, model: ModelProto) -> None:
        self.graph, self.batch, self.added = model.graph, model.graph.input[0].type.tensor_type.shape.dim[0], 0
        del self.graph.output[:]

    def _name(self) -> str:
        self.added += 1
        return f"suppression_{self.added}"

    def renamed(self, name: str) -> str:
        """Give an output of the network another name, since its own is taken, and return that."""
        inner = f"all_{name}"
        for node in self.graph.node:
            for place, output in enumerate(node.output):
                if output == name:
                    node.output[place] = inner
            for place, given in enumerate(node.input):
                if given == name:
                    node.input[place] = inner
        return inner

    def sides(self) -> str:
        """Return the name of (4), width, height, width and height of the input."""
        shape = self.node("Shape", self.graph.input[0].name)
        return self.node("Cast", self.node("Gather", shape, self.number([3, 2, 3, 2])), to=1)  # float32

    def reaching(self, boxes: str, sides: str) -> str:
        """Return the name of (B, N), 1 for each box that reaches into the image and 0 for the others."""
        first, last = self.number([0, 1]), self.number([2, 3])
        begins = self.node("Less", self.node("Gather", boxes, first, axis=2), self.node("Gather", sides, first))
        ends = self.node("Greater", self.node("Gather", boxes, last, axis=2), self.number(0.0, np.float32))
        both = self.node("Cast", self.node("And", begins, ends), to=1)
        return self.node("ReduceMin", both, self.number([2]), keepdims=0)

    def number(self, value: Any, dtype: type[Any] = np.int64) -> str:
        """Return the name of a constant."""
        from onnx import numpy_helper

        name = self._name()
        self.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def nodes(self, kind: str, *given: str, results: int = 2, **more: Any) -> Sequence[str]:
        """Add a node of several results and return their names."""
        from onnx import helper

        names = [self._name() for _ in range(results)]
        self.graph.node.append(helper.make_node(kind, list(given), names, name=names[0], **more))
        return names

    def node(self, kind: str, *given: str, **more: Any) -> str:
        """Add a node and return the name of its result."""
        return self.nodes(kind, *given, results=1, **more)[0]

    def output(
        self,
        name: str,
        operator: str,
        *given: str,
        kind: int = 1,
        kept: bool = True,
        sides: Sequence[int] = (),
        **more: Any,
    ) -> None:
        """Add a node whose result is an output, of a type of ONNX and the sides (batch, kept, ``sides``)."""
        from onnx import helper

        self.graph.node.append(helper.make_node(operator, list(given), [name], name=f"{name}_left", **more))
        batch: Any = self.batch.dim_param or self.batch.dim_value
        shape = [batch, *(["kept"] if kept else []), *sides]
        self.graph.output.append(helper.make_tensor_value_info(name, kind, shape))
