"""Architectures, one package each. Nothing is imported here; ``lab.registry`` finds the module of each name."""
