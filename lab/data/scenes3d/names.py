"""What generated streets name beside nuScenes' classes and attributes."""

from __future__ import annotations

STUFF_NAMES = ("sky", "road", "sidewalk", "building", "vegetation", "pole")
"""What pixels show that belong to no object; their labels follow those of the classes."""
SPLITS = ("train", "val", "test")
