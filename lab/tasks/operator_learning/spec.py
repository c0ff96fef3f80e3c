"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="operator_learning",
    task="lab.tasks.operator_learning.task:OperatorLearningTask",
    data="lab.structures.operator_learning:FieldSpec",
    settings="lab.tasks.operator_learning.settings:SETTINGS",
    predictor="lab.tasks.operator_learning.predict:OperatorLearningPredictor",
    pictures="lab.tasks.operator_learning.pictures:forecast_panels",
    media="lab.tasks.operator_learning.media:field_media",
    browse="lab.tasks.operator_learning.browse:FieldBrowser",
)
