"""From the command line to a run. No torch at module level."""
