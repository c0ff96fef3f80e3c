"""Baselines for recommenders: they are not trained but memorise the training data."""
