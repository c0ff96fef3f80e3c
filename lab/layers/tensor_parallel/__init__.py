"""Layers that are split over ranks, as in Megatron's ``mpu``: mappings, layers, loss, random numbers, groups."""
