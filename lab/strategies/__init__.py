"""How a run uses its devices."""
