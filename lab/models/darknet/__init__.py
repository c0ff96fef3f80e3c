"""Networks of darknet: YOLO-Fastest 1.1, and a reader of ``.cfg`` and ``.weights`` files; their loss."""
