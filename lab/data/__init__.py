"""Datasets, samplers and DataModules that several kinds of problem share."""
