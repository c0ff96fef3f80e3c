"""Generated scenes: the embedded benchmark ``data=shapes``."""
