"""Registers the kind of problem. Its parts are given by name, so that they are imported only when they are used."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="segmentation",
    task="lab.tasks.segmentation.task:SegmentationTask",
    data="lab.structures.segmentation:SegmentationSpec",
    settings="lab.tasks.segmentation.settings:SETTINGS",
    predictor="lab.tasks.segmentation.predict:SegmentationPredictor",
    pictures="lab.tasks.segmentation.pictures:segmentation_panels",
    media="lab.tasks.segmentation.media:segmentation_media",
    browse="lab.tasks.segmentation.browse:SegmentationBrowser",
)
