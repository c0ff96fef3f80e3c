"""Data for question answering."""
