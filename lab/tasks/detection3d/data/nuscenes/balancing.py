"""Class-balanced resampling of frames, as MMDetection3D's ``CBGSDataset`` has it.

Zhu et al., Class-balanced Grouping and Sampling for Point Cloud 3D Object Detection, 2019, section 3.1.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def balanced_frames(labels: Sequence[Collection[int]], num_classes: int, seed: int) -> list[int]:
    """Return the numbers of frames of an epoch, in which frames of rare classes stand more often.

    A class is in the epoch as often as any other: ``total / num_classes`` of the frames that hold it are drawn, with
    replacement, where ``total`` counts each frame once for each class in it. Drawn once, as published, not in each
    epoch. A class that no frame holds takes no part.

    Args:
        labels: the classes in each frame.
        num_classes: K.
        seed: of the draws.
    """
    holds = [[number for number, of in enumerate(labels) if label in of] for label in range(num_classes)]
    total = sum(map(len, holds))
    present = [frames for frames in holds if frames]
    generator = np.random.default_rng(seed)
    drawn: list[int] = []
    for frames in present:
        share = 1 / len(present)
        drawn += generator.choice(frames, int(len(frames) * (share / (len(frames) / total)))).tolist()
    return drawn
