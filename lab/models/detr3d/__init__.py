"""DETR3D: object queries that look up their place in several cameras' pictures, and find boxes in 3-D."""
