"""Metrics that torchmetrics lacks or computes differently."""
