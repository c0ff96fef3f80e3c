"""The classes and attributes of street scenes: those of nuScenes.

Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020, with the order of MMDetection3D.
"""

from __future__ import annotations

CLASS_NAMES = (
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
ATTRIBUTE_NAMES = (
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.standing",
    "pedestrian.sitting_lying_down",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
STUFF_NAMES = ("sky", "road", "sidewalk", "building", "vegetation", "pole")
"""What pixels show that belong to no object; their labels follow those of the classes."""
SPLITS = ("train", "val", "test")
MOVING_SPEED = 0.2
"""m/s above which nuScenes calls an object moving."""
