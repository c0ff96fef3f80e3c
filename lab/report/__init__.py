"""Pictures, tables, and reading of runs."""
