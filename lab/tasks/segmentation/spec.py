"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="segmentation",
    task="lab.tasks.segmentation.task:SegmentationTask",
    data="lab.structures.segmentation:SegmentationSpec",
    settings="lab.tasks.segmentation.settings:SETTINGS",
    predictor="lab.tasks.segmentation.predict:SegmentationPredictor",
    pictures="lab.tasks.segmentation.pictures:segmentation_panels",
)
