"""What ``lab new`` writes: models, data and whole projects, from templates. No torch."""
