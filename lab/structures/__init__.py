"""The types that all parts of lab exchange: dataset descriptions, batches, predictions, protocols of architectures.

To write a new architecture or dataset, read ``common`` and the file of your kind of problem; no other file is needed.
This package has only dataclasses and Protocols.
"""

from lab.structures.common import ClassSpec, DataSpec, ImageBatch, KeyedDataset, Movable, Table, Term, split_packed
from lab.structures.detection import (
    DetectionBatch,
    DetectionPredictions,
    Detections,
    DetectionSample,
    DetectionSpec,
    DetectionTargets,
    DetectionTruth,
    Detector,
)
from lab.structures.recommendation import (
    LaneBatch,
    LaneTargets,
    RecommendationSpec,
    Recommender,
    SequenceBatch,
    SequenceTargets,
)
from lab.structures.segmentation import (
    NO_SEGMENT,
    Instances,
    MaskSegmenter,
    SegmentationBatch,
    SegmentationSample,
    SegmentationSpec,
    SegmentationTargets,
    SegmentationTruth,
    Segmenter,
    Segments,
)

__all__ = [
    "NO_SEGMENT",
    "ClassSpec",
    "DataSpec",
    "DetectionBatch",
    "DetectionPredictions",
    "DetectionSample",
    "DetectionSpec",
    "DetectionTargets",
    "DetectionTruth",
    "Detections",
    "Detector",
    "ImageBatch",
    "Instances",
    "KeyedDataset",
    "LaneBatch",
    "LaneTargets",
    "MaskSegmenter",
    "Movable",
    "RecommendationSpec",
    "Recommender",
    "SegmentationBatch",
    "SegmentationSample",
    "SegmentationSpec",
    "SegmentationTargets",
    "SegmentationTruth",
    "Segmenter",
    "Segments",
    "SequenceBatch",
    "SequenceTargets",
    "Table",
    "Term",
    "split_packed",
]
