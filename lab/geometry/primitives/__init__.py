"""Shapes as tools, with the parameters of UE5's: each appends one shape to the mesh."""
