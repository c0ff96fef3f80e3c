"""Street scenes as maps of segments."""

from __future__ import annotations

import pytest
import torch

from lab.data.nuscenes_names import CLASSES
from lab.data.scenes3d.names import STUFF_NAMES
from lab.structures import SegmentationSample
from lab.tasks.segmentation.data.scenes3d import Scenes3dDataModule

pytest.importorskip("embreex")


def samples(segments: str) -> list[SegmentationSample]:
    data = Scenes3dDataModule(image_size=(32, 48), num_val=6, segments=segments)
    assert data.spec.class_names == (*CLASSES, *STUFF_NAMES)
    assert data.spec.thing_labels == tuple(range(10))
    return [data.dataset("val")[0, index] for index in range(6)]


def test_every_pixel_is_in_a_segment_of_its_class() -> None:
    both = zip(samples("semantic"), samples("panoptic"), strict=True)
    things = 0
    for semantic, panoptic in both:
        for sample in (semantic, panoptic):
            assert sample.segments.min() >= 0
            assert sample.segments.unique().tolist() == list(range(len(sample.labels)))
        assert torch.equal(semantic.labels[semantic.segments.long()], panoptic.labels[panoptic.segments.long()])
        assert len(semantic.labels) == len(set(semantic.labels.tolist()))
        things += int((panoptic.labels < 10).sum())
        assert panoptic.truth is not None
        assert torch.equal(panoptic.truth.pixels, panoptic.segments.flatten())
    assert things > 4
