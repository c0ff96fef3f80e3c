"""Baselines for recommenders and text classifiers: they memorise the training data, or are fitted to it at once."""
