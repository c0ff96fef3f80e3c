"""BLOOM, a causal language model with linear biases in place of positions (README.md)."""
