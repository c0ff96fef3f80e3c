"""Fields that evolve and maps from fields to fields: generated ones, files of PDE benchmarks, weather."""
