"""The command line: words, flags and help."""
