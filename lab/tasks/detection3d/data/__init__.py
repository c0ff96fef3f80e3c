"""Frames of several cameras: datasets, batches, the base of their DataModules."""
