"""What torchmetrics lacks or has otherwise."""
