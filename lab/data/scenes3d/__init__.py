"""Generated street scenes with six calibrated cameras: ``data=scenes3d``."""
