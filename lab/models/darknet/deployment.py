"""The maps of a network of darknet as files on phones have them, and how they are read."""

from __future__ import annotations

from lab.models.darknet.plan import CfgPlan
from lab.structures.maps import MapLayout


def map_layouts(plan: CfgPlan) -> dict[str, MapLayout]:
    """Return the layout ``maps``: what each ``[yolo]`` layer reads, named by its stride."""
    maps: dict[str, str] = {}
    strides, anchors, scales = [], [], []
    for layer in plan.layers:
        if layer.kind == "yolo":
            stride, count = plan.height // layer.shape[1], len(layer.anchors)
            name = f"yolo_{stride}" if f"yolo_{stride}" not in maps else f"yolo_{stride}_{len(maps)}"
            wide = count * (5 + plan.num_classes)
            maps[name] = f"({wide}, h / {stride}, w / {stride}) logits of x, y, w, h, object, classes, anchor by anchor"
            strides.append(stride)
            anchors.append([list(size) for size in layer.anchors])
            scales.append(layer.number)
    decoding = {"decoding": "yolov3", "strides": strides, "anchors": anchors, "scale_x_y": scales}
    return {"maps": MapLayout("images", "RGB", maps, decoding)}
