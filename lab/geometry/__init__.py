"""Meshes as programs, and pictures of them with exact labels: numpy, no torch.

Coordinates are right-handed with z up, lengths are metres, angles degrees in what a person writes and radians inside.
"""
