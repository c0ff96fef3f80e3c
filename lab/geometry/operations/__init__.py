"""Modelling operations: pure functions from meshes to meshes.

Every operation says in its docstring what becomes of polygroups, material slots, normals and UV layers.
"""
