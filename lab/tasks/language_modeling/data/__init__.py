"""Data for language modelling."""
