"""Semantic, instance and panoptic segmentation."""
