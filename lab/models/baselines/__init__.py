"""Recommenders that are not trained but remember the training data: what every other one is first compared with."""
