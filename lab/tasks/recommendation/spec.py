"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="recommendation",
    task="lab.tasks.recommendation.task:RecommendationTask",
    data="lab.structures.recommendation:RecommendationSpec",
    settings="lab.tasks.recommendation.settings:SETTINGS",
    predictor="lab.tasks.recommendation.predict:RecommendationPredictor",
)
