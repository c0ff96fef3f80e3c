"""Heads on encoders of text: a classifier of texts and pairs, and one that marks the answer to a question."""
