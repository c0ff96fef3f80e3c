"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="text_classification",
    task="lab.tasks.text_classification.task:TextClassificationTask",
    data="lab.structures.text_classification:TextClassificationSpec",
    settings="lab.tasks.text_classification.settings:SETTINGS",
    predictor="lab.tasks.text_classification.predict:TextClassificationPredictor",
    browse="lab.tasks.text_classification.browse:TextBrowser",
)
