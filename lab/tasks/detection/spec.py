"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="detection",
    task="lab.tasks.detection.task:DetectionTask",
    data="lab.structures.detection:DetectionSpec",
    settings="lab.tasks.detection.settings:SETTINGS",
    predictor="lab.tasks.detection.predict:DetectionPredictor",
    pictures="lab.tasks.detection.pictures:detection_panels",
)
