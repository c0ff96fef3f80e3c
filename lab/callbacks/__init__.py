"""Small Lightning callbacks, one for each file."""
