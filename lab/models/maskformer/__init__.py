"""MaskFormer, segmentation by classifying masks: its network, its loss, its post-processing, its variants."""
