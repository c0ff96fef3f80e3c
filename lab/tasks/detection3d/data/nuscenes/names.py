"""The names of nuScenes (Caesar et al., nuScenes: A multimodal dataset for autonomous driving, CVPR 2020)."""

from __future__ import annotations

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
"""In the order of MMDetection3D's infos, which published weights of each camera follow."""
RIG = "LIDAR_TOP"
"""The sensor whose frame the boxes are in."""
CLASSES = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
"""The classes of the detection task, in the order of the labels of DETR3D's published weights."""
ATTRIBUTES = (
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.standing",
    "pedestrian.sitting_lying_down",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
"""In the order of MMDetection3D's ``attr_label``."""
BICYCLE_RACK = "static_object.bicycle_rack"
DETECTION_NAMES = {
    "movable_object.barrier": "barrier",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}
"""The detection task's class of a category of the tables; categories that are not named here belong to none."""
LONG = frozenset({"car", "truck", "bus", "trailer", "bicycle", "motorcycle"})
"""Classes whose length is above their width, nearly always."""
