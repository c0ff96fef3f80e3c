"""YOLO-FastestV2: a detector of a quarter of a million parameters; its network, its loss, its variants."""
