"""Strategies: how a run uses its devices."""
