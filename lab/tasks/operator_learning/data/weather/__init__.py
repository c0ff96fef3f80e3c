"""Weather and climate: files of gridded fields with dates, their splits, statistics and forcings."""
