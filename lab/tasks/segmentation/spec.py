"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="segmentation",
    task="lab.tasks.segmentation.task:SegmentationTask",
    predictor="lab.tasks.segmentation.predict:SegmentationPredictor",
    pictures="lab.tasks.segmentation.pictures:segmentation_panels",
)
