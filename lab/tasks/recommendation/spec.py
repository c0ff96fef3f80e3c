"""Registers the kind of problem. Its parts are given by name, so that they are imported only when they are used."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="recommendation",
    task="lab.tasks.recommendation.task:RecommendationTask",
    data="lab.structures.recommendation:RecommendationSpec",
    settings="lab.tasks.recommendation.settings:SETTINGS",
    predictor="lab.tasks.recommendation.predict:RecommendationPredictor",
    browse="lab.tasks.recommendation.browse:RecommendationBrowser",
)
