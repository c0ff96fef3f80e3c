"""Registers the kind of problem. Its parts are given by name, so that they are imported only when they are used."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="detection",
    task="lab.tasks.detection.task:DetectionTask",
    data="lab.structures.detection:DetectionSpec",
    settings="lab.tasks.detection.settings:SETTINGS",
    predictor="lab.tasks.detection.predict:DetectionPredictor",
    pictures="lab.tasks.detection.pictures:detection_panels",
    media="lab.tasks.detection.media:detection_media",
    export="lab.tasks.detection.export:DetectorExport",
    browse="lab.tasks.detection.browse:DetectionBrowser",
)
