"""Training: what the tasks of all kinds of problem share."""
