"""Which predictor serves which task."""

from __future__ import annotations

from lab.predicting.base import Predictor
from lab.predicting.detection import DetectionPredictor
from lab.predicting.recommendation import RecommendationPredictor
from lab.predicting.segmentation import SegmentationPredictor

PREDICTORS: dict[str, type[Predictor]] = {
    "detection": DetectionPredictor,
    "recommendation": RecommendationPredictor,
    "segmentation": SegmentationPredictor,
}
"""By the ``kind`` of the task."""
