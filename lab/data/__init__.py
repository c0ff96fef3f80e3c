"""Datasets, samplers and LightningDataModules."""
