"""Networks of darknet: a reader of its ``.cfg`` and ``.weights`` files, of which YOLO-Fastest 1.1 is one."""
