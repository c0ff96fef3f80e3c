"""DETR, the detection transformer: its network, its loss, its variants."""
