"""Safe writing and loading of checkpoints and weights."""
