"""Recommendation of the next item."""
