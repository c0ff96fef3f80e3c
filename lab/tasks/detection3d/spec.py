"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="detection3d",
    task="lab.tasks.detection3d.task:Detection3dTask",
    data="lab.structures.detection3d:Detection3dSpec",
    settings="lab.tasks.detection3d.settings:SETTINGS",
    predictor="lab.tasks.detection3d.predict:Detection3dPredictor",
    pictures="lab.tasks.detection3d.pictures:frame_panels",
    media="lab.tasks.detection3d.media:frame_media",
    browse="lab.tasks.detection3d.browse:FrameBrowser",
)
