"""The operating system's side: files, signals, ranks, memory, provenance. No torch."""
