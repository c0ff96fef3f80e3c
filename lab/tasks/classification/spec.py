"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="classification",
    task="lab.tasks.classification.task:ClassificationTask",
    data="lab.structures.classification:ClassificationSpec",
    settings="lab.tasks.classification.settings:SETTINGS",
    predictor="lab.tasks.classification.predict:ClassificationPredictor",
    pictures="lab.tasks.classification.pictures:classification_panels",
    media="lab.tasks.classification.media:classification_media",
    export="lab.tasks.classification.export:ClassifierExport",
    browse="lab.tasks.classification.browse:ClassificationBrowser",
)
