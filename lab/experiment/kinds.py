"""The kinds of problem: the task, the predictor and the pictures of each."""

from __future__ import annotations

from lab.callbacks.pictures import Panels
from lab.tasks.detection.pictures import detection_panels
from lab.tasks.detection.predict import DetectionPredictor
from lab.tasks.detection.task import DetectionTask
from lab.tasks.recommendation.predict import RecommendationPredictor
from lab.tasks.recommendation.task import RecommendationTask
from lab.tasks.segmentation.pictures import segmentation_panels
from lab.tasks.segmentation.predict import SegmentationPredictor
from lab.tasks.segmentation.task import SegmentationTask
from lab.training.predictor import Predictor
from lab.training.task import Task

TASKS: dict[str, type[Task]] = {task.kind: task for task in (DetectionTask, RecommendationTask, SegmentationTask)}
"""The task of each kind of problem."""

PREDICTORS: dict[str, type[Predictor]] = {
    "detection": DetectionPredictor,
    "recommendation": RecommendationPredictor,
    "segmentation": SegmentationPredictor,
}
"""What reads and writes for ``stage=predict``."""

PANELS: dict[str, Panels] = {"detection": detection_panels, "segmentation": segmentation_panels}
"""What draws a batch, where there is something to draw."""
