"""Data for recommendation."""
