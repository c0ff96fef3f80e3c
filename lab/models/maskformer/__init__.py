"""MaskFormer, segmentation by mask classification: network, loss, post-processing, variants."""
