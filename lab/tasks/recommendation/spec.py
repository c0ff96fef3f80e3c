"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="recommendation",
    task="lab.tasks.recommendation.task:RecommendationTask",
    predictor="lab.tasks.recommendation.predict:RecommendationPredictor",
)
