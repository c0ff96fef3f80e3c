"""LightningModules, one for each kind of problem."""
