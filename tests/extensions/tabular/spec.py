"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec, register_task

TASK = register_task(
    TaskSpec(
        name="tabular",
        task="tabular.task:TabularTask",
        data="tabular.structures:TabularSpec",
        settings="tabular.settings:SETTINGS",
        predictor="tabular.predict:TabularPredictor",
        pictures="tabular.pictures:scatter_panels",
    )
)
