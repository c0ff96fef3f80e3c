"""The names of nuScenes' detection task, which its files and the generated streets share.

Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020, with the orders of MMDetection3D.
"""

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
"""In the order of MMDetection3D's infos, which published weights of each camera follow."""
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
"""In the order of the labels of DETR3D's published weights."""
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
