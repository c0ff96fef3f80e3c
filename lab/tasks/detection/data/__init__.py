"""Data for detection."""
