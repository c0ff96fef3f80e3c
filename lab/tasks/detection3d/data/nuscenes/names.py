"""What else nuScenes' files name (Caesar et al., nuScenes: A multimodal dataset for autonomous driving, CVPR 2020)."""

from __future__ import annotations

RIG = "LIDAR_TOP"
"""The sensor whose frame the boxes are in."""
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
