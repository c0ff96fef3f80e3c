"""Registers the kind of problem. Its parts are given by name, so that they are imported only when they are used."""

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
