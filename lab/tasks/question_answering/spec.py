"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="question_answering",
    task="lab.tasks.question_answering.task:AnsweringTask",
    data="lab.structures.question_answering:AnsweringSpec",
    settings="lab.tasks.question_answering.settings:SETTINGS",
    predictor="lab.tasks.question_answering.predict:AnsweringPredictor",
    browse="lab.tasks.question_answering.browse:AnsweringBrowser",
)
