"""Safe writing and loading of checkpoints."""
