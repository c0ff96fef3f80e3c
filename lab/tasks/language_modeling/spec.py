"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="language_modeling",
    task="lab.tasks.language_modeling.task:LanguageModelingTask",
    data="lab.structures.language_modeling:LanguageSpec",
    settings="lab.tasks.language_modeling.settings:SETTINGS",
    predictor="lab.tasks.language_modeling.predict:LanguagePredictor",
    pictures="lab.tasks.language_modeling.pictures:language_panels",
    browse="lab.tasks.language_modeling.browse:LanguageBrowser",
)
