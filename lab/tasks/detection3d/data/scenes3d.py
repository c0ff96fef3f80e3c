"""The generated street scenes for detection in 3-D."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from lab.data.nuscenes_names import ATTRIBUTES
from lab.data.scenes3d.frames import StreetFrame
from lab.data.scenes3d.module import StreetArguments
from lab.data.scenes3d.rig import CAMERA_NAMES, boxes_to_rig, projections, rig_to_ego
from lab.data.scenes3d.samples import StreetSamples
from lab.structures.detection3d import Detection3dSpec, Detection3dTruth, MultiviewSample
from lab.tasks.detection3d.data.collate import draw_chances
from lab.tasks.detection3d.data.module import MultiviewModule

_OF_DEVICE = 1  # apart from the numbers of the scenes


class StreetFrames(StreetSamples[MultiviewSample]):
    """Scenes of ``StreetScenes`` as samples for detectors in 3-D.

    Boxes to learn are those of objects with ``min_pixels`` visible pixels in all pictures together. The truth has every
    object; its ``points`` are the visible pixels, 0 where there are fewer than ``min_pixels``: those are not counted.

    Args:
        scenes: with pictures of all cameras.
    """

    def __getitem__(self, key: tuple[int, int]) -> MultiviewSample:
        """Return the sample for ``(epoch, index)``; what the device draws differs from epoch to epoch."""
        sample = super().__getitem__(key)
        if self.scenes.evaluated:
            return sample
        return replace(sample, chances=draw_chances(self._generator(key), len(CAMERA_NAMES)))

    def _generator(self, key: tuple[int, int]) -> torch.Generator:
        numbers = np.random.SeedSequence([self.scenes.options.seed, *key, _OF_DEVICE]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(numbers[0]) >> 1)

    def make(self, frame: StreetFrame) -> MultiviewSample:
        """Return the sample of a scene."""
        options = self.scenes.options
        layout = frame.layout
        boxes = torch.from_numpy(boxes_to_rig(layout.boxes))
        labels = torch.from_numpy(layout.labels)
        visible = frame.pixels.sum(axis=0)
        visible = np.where(visible < options.min_pixels, 0, visible)
        learnt = torch.from_numpy(visible > 0)
        truth = None
        if self.scenes.evaluated:
            attributes, points = torch.from_numpy(layout.attributes), torch.from_numpy(visible)
            truth = Detection3dTruth(boxes, labels, attributes, points, (len(labels),))
        return MultiviewSample(
            images=torch.from_numpy(np.ascontiguousarray(frame.images.transpose(0, 3, 1, 2))),
            projections=torch.from_numpy(projections(options.width, options.height).copy()),
            boxes=boxes[learnt].float(),
            labels=labels[learnt],
            frame_id=frame.index,
            token=f"{self.scenes.split}-{frame.index}",
            rig_to_ego=torch.from_numpy(rig_to_ego().copy()),
            ego_to_global=torch.from_numpy(layout.ego_to_global),
            truth=truth,
        )


@dataclass(eq=False)
class Scenes3dDataModule(StreetArguments, MultiviewModule):
    """``data=scenes3d`` for detectors in 3-D; see ``StreetArguments`` for the arguments."""

    kind = "detection3d"
    task = "detection3d"
    one_camera = False

    def __post_init__(self, task: str | None) -> None:
        MultiviewModule.__post_init__(self)
        self.check_task(task)

    @property
    def spec(self) -> Detection3dSpec:
        """The description of the data; classes and attributes are those of nuScenes."""
        return Detection3dSpec(
            class_names=self.names,
            input_shape=self.padded_shape(*self.image_size),
            camera_names=CAMERA_NAMES,
            attribute_names=ATTRIBUTES,
            point_range=tuple(float(end) for end in self.point_range),
        )

    def build(self, split: str) -> StreetFrames:
        """Return the scenes of a split as samples."""
        return StreetFrames(self.scenes(split))
