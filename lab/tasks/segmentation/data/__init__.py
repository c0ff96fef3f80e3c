"""Data for segmentation."""
