"""Which predictor serves which task."""

from __future__ import annotations

from lab.predicting.base import Predictor
from lab.predicting.detection import DetectionPredictor

PREDICTORS: dict[str, type[Predictor]] = {"detection": DetectionPredictor}
"""By the ``kind`` of the task."""
