"""Pictures, tables and loggers."""
