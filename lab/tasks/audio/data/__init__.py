"""Data of the task: generated sounds, folders of sound files, FSDD, ESC-50, AudioSet."""
