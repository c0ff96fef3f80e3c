"""The per-pixel baseline: a feature pyramid and a classifier of every pixel."""
